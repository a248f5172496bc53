"""A file uploaded under /v1/files is asked about by its id, on both wires."""

from __future__ import annotations

from tests.files.hall import PDF, Hall, said


def stored(hall: Hall) -> str:
    """The id of a file that was uploaded to the gateway."""
    with hall.client as client:
        sent = ("plan.pdf", PDF, "application/pdf")
        return client.files.create(file=sent, purpose="user_data").id


def test_it_goes_up_as_if_it_had_come_with_the_question(hall: Hall) -> None:
    part = {"type": "file", "file": {"file_id": stored(hall)}}
    assert hall.ask(said("What is it?", part))
    assert hall.uploads() == ["plan.pdf"]
    assert hall.ask(said("And now?", part))
    assert hall.uploads() == ["plan.pdf"], "each account gets a content once"


def test_a_deleted_one_is_refused_by_the_name_of_the_field(hall: Hall) -> None:
    file_id = stored(hall)
    with hall.client as client:
        client.files.delete(file_id)
    error = hall.refusal(said("?", {"type": "file", "file": {"file_id": file_id}}))
    assert error.status_code == 404
    assert error.param == "messages[0].content[0].file.file_id"
    assert hall.uploads() == []
