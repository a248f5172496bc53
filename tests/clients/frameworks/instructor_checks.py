"""What instructor must get from a gateway: its modes for OpenAI, before two upstreams.

Runs in the environment of requirements-instructor.txt; GATEWAY and GATEWAY_KEY say
where the gateway is. It ends with an AssertionError at the first wrong answer.
"""

import asyncio
import os
from importlib.metadata import version

import instructor
from instructor import Mode
from instructor.core.exceptions import InstructorRetryException
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, field_validator

PLACE = {
    "base_url": os.environ["GATEWAY"] + "/v1",
    "api_key": os.environ["GATEWAY_KEY"],
    "max_retries": 0,
}
MODES = (
    Mode.TOOLS,
    Mode.TOOLS_STRICT,
    Mode.JSON,
    Mode.JSON_SCHEMA,
    Mode.MD_JSON,
    Mode.RESPONSES_TOOLS,
)


class Person(BaseModel):
    """A person of the past."""

    name: str
    age: int


class Elder(Person):
    """One who is refused at first."""

    @field_validator("age")
    @classmethod
    def _old(cls, age):
        if age < 200:
            raise ValueError("must be over 200")
        return age


LI_BAI = {"name": "Li Bai", "age": 61}
ASKED = [{"role": "user", "content": "Who was 'Li Bai', who died at 61?"}]


def check(model, mode):
    client = instructor.from_openai(OpenAI(**PLACE), mode=mode)
    whole = client.create(model=model, response_model=Person, messages=ASKED)
    assert whole.model_dump() == LI_BAI, whole
    parts = list(
        client.create_partial(model=model, response_model=Person, messages=ASKED)
    )
    assert parts[-1].model_dump() == LI_BAI, parts
    if mode is Mode.TOOLS:
        assert parts[0].model_dump() != LI_BAI, "it came in one piece"
        people = client.create_iterable(
            model=model, response_model=Person, messages=ASKED
        )
        assert [person.model_dump() for person in people] == [LI_BAI]


async def check_async(model, mode):
    client = instructor.from_openai(AsyncOpenAI(**PLACE), mode=mode)
    whole = await client.create(model=model, response_model=Person, messages=ASKED)
    assert whole.model_dump() == LI_BAI, whole
    partial = client.create_partial(model=model, response_model=Person, messages=ASKED)
    parts = [part async for part in partial]
    assert parts[-1].model_dump() == LI_BAI, parts


def check_again(model, mode):
    """What does not fit is sent back, with the reason, until it is given up."""
    client = instructor.from_openai(OpenAI(**PLACE), mode=mode)
    try:
        client.create(model=model, response_model=Elder, messages=ASKED, max_retries=1)
    except InstructorRetryException as error:
        assert "must be over 200" in str(error), error
        assert error.n_attempts == 2, error.n_attempts
        return
    raise AssertionError("nothing was refused")


for name in ("gpt-4o", "kimi"):
    for one in MODES:
        try:
            check(name, one)
            asyncio.run(check_async(name, one))
            if one in (Mode.TOOLS, Mode.JSON):
                check_again(name, one)
        except Exception as error:
            error.add_note(f"{one} of {name}")
            raise
print(f"all well with instructor {version('instructor')}")
