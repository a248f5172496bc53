"""The lasting switches of the Qodo emulator."""

from dataclasses import dataclass


@dataclass(slots=True)
class Knobs:
    """How the service behaves; times are seconds.

    `data_prefix` and `done` frame the lines as one reading of the sheet has it;
    `odd_lines` puts lines of unknown types between the others; `last_end` False leaves
    out the last line's end. `same_session` lets get-things name one session again and
    again. `models` is what get-things says of them. `refuses_chinese` is the policy of
    §2. `split` are the sizes in which bytes travel.
    """

    data_prefix: bool = False
    done: bool = False
    odd_lines: bool = True
    last_end: bool = True
    crlf: bool = False
    chunked: bool = True
    split: tuple[int, ...] = ()
    delay: float = 0.0
    same_session: bool = False
    models: object = ("claude-4.5-sonnet", "gpt-5.1")
    refuses_chinese: bool = False
    token_life: float = 3600.0
    rotates_refresh: bool = False
