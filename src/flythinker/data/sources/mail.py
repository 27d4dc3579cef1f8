"""Mails: what their owner wrote, without the quoted mails and signatures."""

import mailbox
from collections.abc import Iterator
from email import message_from_binary_file, policy
from email.message import EmailMessage
from email.utils import parseaddr
from functools import partial
from pathlib import Path
from typing import Any, cast

from flythinker.data.example import Document
from flythinker.data.sources.html import html_text
from flythinker.data.sources.reading import Reading, Unreadable

_SIGNATURE = "\n-- \n"  # as RFC 3676 has it
_LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pl", "sv", "da", "cs", "ja", "ko", "zh")


def read_eml(file: Path, reading: Reading) -> list[Document]:
    """One mail: its owner's, unless `reading.senders` says who that is."""
    with file.open("rb") as data:
        mail = message_from_binary_file(data, policy=policy.default)
    if not mail["from"] and not mail["date"]:
        raise Unreadable("not a mail")
    if reading.senders and _sender(mail) not in reading.senders:
        reading.leave_out("mails of others")
        return []
    return [document] if (document := _document(mail, file, reading)) else []


def read_mbox(file: Path, reading: Reading) -> list[Document]:
    """The owner's mails in a mailbox: by `reading.senders`, else those labelled as sent.

    A mailbox without such labels must be of one sender.
    """
    mails = list(_mails(file))
    if not mails:
        raise Unreadable("no mail in it")
    senders = set(reading.senders) or {_sender(mail) for mail in mails if _is_sent(mail)}
    if not senders:
        senders = {_sender(mail) for mail in mails}
        if len(senders) > 1:
            raise Unreadable(f"mails of {len(senders)} senders; say --from YOUR@ADDRESS")
    if not reading.senders:
        reading.assume(f"mails from {', '.join(sorted(senders))} are the person's own")
    documents = []
    for mail in mails:
        if _sender(mail) not in senders:
            reading.leave_out("mails of others")
        elif document := _document(mail, file, reading):
            documents.append(document)
    return documents


def _mails(file: Path) -> Iterator[EmailMessage]:
    read_mail = partial(message_from_binary_file, policy=policy.default)
    box = mailbox.mbox(file, factory=cast(Any, read_mail), create=False)
    try:
        yield from cast("Iterator[EmailMessage]", box)
    finally:
        box.close()


def _sender(mail: EmailMessage) -> str:
    return parseaddr(str(mail["from"] or ""))[1].lower()


def _is_sent(mail: EmailMessage) -> bool:
    """As Google Takeout labels the mails that the owner of the mailbox sent."""
    return "Sent" in [label.strip() for label in str(mail["x-gmail-labels"] or "").split(",")]


def _document(mail: EmailMessage, file: Path, reading: Reading) -> Document | None:
    from mailparser_reply import EmailReplyParser

    subject = " ".join(str(mail["subject"] or "").split())
    try:
        body = mail.get_body(preferencelist=("plain", "html"))
        content = body.get_content() if body else ""
        if body and body.get_content_subtype() == "html":
            content = html_text(content, quotes=False)
    except (LookupError, ValueError, KeyError, AttributeError) as error:
        reading.skip(file, f"mail '{subject}' cannot be decoded ({error})")
        return None
    content, _, _ = content.replace("\r\n", "\n").partition(_SIGNATURE)
    text = EmailReplyParser(languages=list(_LANGUAGES)).parse_reply(text=content) or ""
    text = "\n".join(line for line in text.splitlines() if not line.startswith(">")).strip()
    sent = getattr(mail["date"], "datetime", None)
    if not sent:
        reading.remark(file, f"mail '{subject}' has no date")
    return Document(text, subject, sent.date().isoformat() if sent else "") if text else None
