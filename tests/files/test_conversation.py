"""Files asked about in a conversation, on both wires, by the official client."""

import json
from pathlib import Path
from typing import Any

from tests.files.hall import (
    PDF,
    PNG,
    FileServer,
    Hall,
    data_url,
    document,
    emulated,
    gateway,
    image,
    linked,
    opened,
    said,
)

NAMED = ["report.pdf", "image-", "image-"]


def four_turns(hall: Hall) -> list[str]:
    """A client that sends its whole history again each time; the four answers."""
    first = said(
        "What is in these?",
        document(PDF),
        image(data_url(PNG + b"1")),
        image(data_url(PNG + b"2")),
    )
    history, answers = [first], []
    for question in ("And the second?", "And the third?", "All three again?", ""):
        answers.append(hall.ask(*history))
        history.append({"role": "assistant", "content": answers[-1]})
        history.append({"role": "user", "content": question})
    return answers


def test_a_document_and_two_images_go_up_once_and_are_there_in_turn_four(
    hall: Hall,
) -> None:
    answers = four_turns(hall)
    first, last = json.loads(answers[0]), json.loads(answers[3])
    assert first == last
    assert [name.startswith(n) for name, n in zip(last, NAMED, strict=True)] == [
        True
    ] * 3
    uploads = hall.emulator.log.of("upload")
    assert len(uploads) == 3
    assert len({entry.facts["of"] for entry in uploads}) == 3
    assert len(hall.emulator.files("alice")) == 3
    assert f"[attached: {', '.join(last)}]\nWhat is in these?" in hall.prompts()[3]


def test_each_account_gets_the_files_once(wire: str, tmp_path: Path) -> None:
    pool = {"strategy": "round-robin"}
    accounts = ("alice", "bob")
    with opened(wire, tmp_path, accounts=accounts, pool=pool) as hall:
        four_turns(hall)
        assert len(hall.uploads("alice")) == len(hall.uploads("bob")) == 3


def test_only_the_new_turns_files_go_up_where_the_chat_goes_on(
    wire: str, tmp_path: Path
) -> None:
    with opened(wire, tmp_path, conversations={"mode": "auto"}) as hall:
        first = said("What is this?", document(PDF))
        answer = {"role": "assistant", "content": hall.ask(first)}
        second = said("And this?", image(data_url(PNG)))
        assert len(json.loads(hall.ask(first, answer, second))) == 1
        assert hall.prompts()[1] == "And this?"
        assert len(hall.uploads()) == 2


def test_a_file_of_the_past_may_be_gone_where_the_chat_goes_on(
    wire: str, tmp_path: Path, server: FileServer
) -> None:
    with opened(wire, tmp_path, conversations={"mode": "auto"}) as hall:
        first = said("What is this?", linked(server.put("/a.pdf", PDF)))
        answer = {"role": "assistant", "content": hall.ask(first)}
        server.pages["/a.pdf"] = (410, {}, b"")
        assert hall.ask(first, answer, said("And now?")) == "[]"


def test_a_kept_chat_goes_on_after_its_new_file_was_lost(
    wire: str, tmp_path: Path
) -> None:
    with opened(wire, tmp_path, conversations={"mode": "auto"}) as hall:
        hall.ask(said("What is this?", document(PDF)))
        first = said("hi")
        answer = {"role": "assistant", "content": hall.ask(first)}
        hall.emulator.lose_files()
        second = said("What is this?", document(PDF))
        assert hall.ask(first, answer, second) == '["report.pdf"]'
        assert hall.prompts()[-1] == "What is this?"
        assert len(hall.emulator.log.of("upload")) == 2


def test_files_of_every_role_are_there_in_their_order(hall: Hall) -> None:
    """Agents put screenshots into results, and some clients a document before all."""
    function = {"name": "look", "arguments": "{}"}
    call = {"id": "c1", "type": "function", "function": function}
    result = {"role": "tool", "tool_call_id": "c1", "content": [image(data_url(PNG))]}
    messages: list[dict[str, Any]] = [
        {**said("Go by this.", document(PDF, "rules.pdf")), "role": "system"},
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        result,
        {**said("I saw.", document(PDF + b"2", "notes.pdf")), "role": "assistant"},
        said("And this?", document(PDF + b"3", "last.pdf")),
    ]
    rules, picture, notes, last = json.loads(hall.ask(*messages))
    assert (rules, notes, last) == ("rules.pdf", "notes.pdf", "last.pdf")
    assert picture.startswith("image-")
    (prompt,) = hall.prompts()
    places = [prompt.index(f"[attached: {n}]") for n in (rules, picture, notes, last)]
    assert places == sorted(places)


def test_an_image_alone_is_a_question(hall: Hall) -> None:
    content = [image(data_url(PNG))]
    (name,) = json.loads(hall.ask({"role": "user", "content": content}))
    assert hall.prompts() == [f"[attached: {name}]"]


def test_what_is_upstream_outlives_the_gateway(wire: str, tmp_path: Path) -> None:
    with emulated(wire, tmp_path) as hall:
        for question in ("What is this?", "And now?"):
            with gateway(hall, tmp_path):
                hall.ask(said(question, document(PDF)))
        assert len(hall.uploads()) == 1


def test_a_file_that_the_upstream_lost_goes_up_again(hall: Hall) -> None:
    question = said("What is this?", document(PDF))
    hall.ask(question)
    hall.emulator.lose_files()
    assert json.loads(hall.ask(question)) == ["report.pdf"]
    assert len(hall.emulator.log.of("upload")) == 2


def test_a_file_that_is_lost_at_once_is_not_uploaded_for_ever(hall: Hall) -> None:
    chat = "Chat" if hall.wire == "connect" else "completion"
    if hall.wire == "connect":
        hall.emulator.faults.add(
            "error", times=-1, code="not_found", message="file not found"
        )
    else:
        hall.emulator.faults.add("refuse", times=-1, on=chat, message="file not found")
    error = hall.refusal(said("What is this?", document(PDF)))
    assert (error.status_code, error.code) == (503, "upstream_file_lost")
    assert len(hall.emulator.log.of("upload")) == 2


def test_bare_base64_and_urls_and_wrong_labels_are_understood(
    hall: Hall, server: FileServer
) -> None:
    packed = data_url(PNG + b"bare").partition(",")[2]
    question = said(
        "What are these?",
        image(packed),
        image(data_url(PNG + b"labelled", "application/octet-stream")),
        image(server.put("/pictures/cat.jpeg", PNG + b"named jpeg", "image/jpeg")),
    )
    names = json.loads(hall.ask(question))
    assert names[2] == "cat.jpeg.png"
    assert all(name.endswith(".png") for name in names)
    assert {entry.facts["type"] for entry in hall.emulator.log.of("upload")} == {
        "image/png"
    }
    if hall.wire == "legacy":
        signed = hall.emulator.log.of("pre-sign")
        assert {entry.body["action"] for entry in signed} == {"image"}


def test_the_bucket_never_sees_a_token(tmp_path: Path) -> None:
    with opened("legacy", tmp_path) as hall:
        hall.ask(said("What is this?", document(PDF)))
        (put,) = hall.emulator.log.of("upload")
        assert put.token_kind is None
        assert hall.emulator.violations() == []


def test_a_name_in_any_script_arrives_whole(hall: Hall) -> None:
    name = '报告 "final" ünï.pdf'
    (found,) = json.loads(hall.ask(said("What is this?", document(PDF, name))))
    assert found in (name, name.replace('"', "%22"))


def test_a_streamed_answer_has_its_files_too(hall: Hall) -> None:
    messages = [said("What is this?", document(PDF))]
    with hall.client as client:
        chunks = client.chat.completions.create(
            model=hall.model, messages=messages, stream=True
        )
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert json.loads(text) == ["report.pdf"]


def test_several_choices_load_and_upload_once(hall: Hall, server: FileServer) -> None:
    url = server.put("/a.pdf", PDF)
    hall.ask(said("hi", linked(url)), n=2)
    assert server.asked == ["/a.pdf"]
    assert len(hall.uploads()) == 1


def test_a_prompt_too_long_for_a_message_goes_up_as_a_file(tmp_path: Path) -> None:
    with opened("connect", tmp_path, long_prompt=2000) as hall:
        text = "word " * 1000
        (name,) = json.loads(hall.ask(said(text)))
        assert name.startswith("prompt-") and name.endswith(".txt")
        assert name in hall.prompts()[0] and len(hall.prompts()[0]) < 300
        (file,) = hall.emulator.files()
        assert (file.size, file.kind) == (len(text), "text/plain")
