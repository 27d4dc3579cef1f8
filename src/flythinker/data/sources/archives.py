"""Exports as they are downloaded: zip archives, of Notion, Google Takeout, Substack, Twitter/X."""

import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

from flythinker.data.example import Document
from flythinker.data.sources.decode import read_text
from flythinker.data.sources.reading import Reading, Unreadable
from flythinker.errors import FlyThinkerError

_TWEETS = re.compile(r"tweets?(?:-part\d+)?\.js")
_TWEET_NOISE = re.compile(r"https://t\.co/\w+|^(?:@\w+\s+)+")


def read_zip(
    file: Path, reading: Reading, read_folder: Callable[[Path, Reading], list[Document]]
) -> list[Document]:
    """All that `read_folder` finds in an archive; remarks name the archive and the file in it."""
    with TemporaryDirectory() as unpacked:
        try:
            _unpack(file, Path(unpacked), reading.max_unpacked)
        except (BadZipFile, RuntimeError, NotImplementedError) as error:
            raise Unreadable(f"the archive cannot be unpacked: {error}") from None
        inner = Reading(
            reading.strict, reading.day_first, reading.senders, max_unpacked=reading.max_unpacked
        )
        try:
            documents = read_folder(Path(unpacked), inner)
        except FlyThinkerError as error:
            raise FlyThinkerError(str(error).replace(unpacked, str(file))) from None
    reading.include(inner, unpacked, str(file))
    return documents


def read_tweets(file: Path, reading: Reading) -> list[Document]:
    """The tweets of a Twitter/X archive (`data/tweets.js`) without retweets."""
    if not _TWEETS.fullmatch(file.name):
        reading.leave_out(".js files")
        return []
    _, _, array = read_text(file, reading).partition("=")
    try:
        tweets = [item.get("tweet", item) for item in json.loads(array)]
        documents = [_tweet(tweet) for tweet in tweets if "full_text" in tweet]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Unreadable(f"not a table of tweets ({error})") from None
    return [document for document in documents if document]


def read_keep(file: Path, reading: Reading) -> list[Document]:
    """A note of Google Keep, as Takeout has them; other `.json` files are left out."""
    try:
        note = json.loads(read_text(file, reading))
    except ValueError:
        note = None
    if not isinstance(note, dict) or "userEditedTimestampUsec" not in note:
        reading.leave_out(".json files")
        return []
    try:
        items = [item.get("text", "") for item in note.get("listContent", ())]
        text = note.get("textContent", "") or "\n".join(items)
        if note.get("isTrashed") or not text.strip():
            return []
        written = note.get("createdTimestampUsec") or note["userEditedTimestampUsec"]
        date = datetime.fromtimestamp(written / 1e6, UTC).date().isoformat()
        return [Document(text.strip(), note.get("title", "").strip(), date)]
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        raise Unreadable(f"not a note of Google Keep ({error})") from None


def _tweet(tweet: dict[str, str]) -> Document | None:
    text = tweet["full_text"]
    text = unescape(_TWEET_NOISE.sub("", text)).strip()
    if not text or text.startswith("RT @"):
        return None
    written = datetime.strptime(tweet["created_at"], "%a %b %d %H:%M:%S %z %Y")
    return Document(text, "", written.date().isoformat())


def _unpack(file: Path, folder: Path, most: int) -> None:
    with ZipFile(file) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > most:
            raise Unreadable(f"it unpacks to more than {most // 2**20} MiB")
        for entry in entries:
            target = archive.extract(entry, folder)  # it drops '..' and leading slashes
            if not entry.is_dir():
                changed = time.mktime((*entry.date_time, 0, 0, -1))
                os.utime(target, (changed, changed))
