"""Files of other programs, written here by the libraries that write them."""

import csv
import json
import mailbox
import zipfile
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from flythinker.data.example import Document
from flythinker.data.sources.read import read_path
from flythinker.data.sources.reading import Reading
from flythinker.errors import FlyThinkerError

RAIN = Document("It rained all night.\n\nThe river was high.", "Rain", "2024-05-01")
WHEN = datetime(2024, 5, 1, 10, 0, tzinfo=UTC)
PARAGRAPHS = RAIN.text.split("\n\n")
HTML = "<h1>Rain</h1>" + "".join(f"<p>{part}</p>" for part in PARAGRAPHS)


def write_docx(path: Path) -> None:
    import docx

    file = docx.Document()
    file.core_properties.title, file.core_properties.created = RAIN.title, WHEN
    for part in PARAGRAPHS:
        file.add_paragraph(part)
    file.save(str(path))


def write_odt(path: Path) -> None:
    import odfdo

    file = odfdo.Document("text")
    file.body.clear()
    file.meta.title, file.meta.creation_date = RAIN.title, WHEN
    for part in PARAGRAPHS:
        file.body.append(odfdo.Paragraph(part))
    file.save(str(path))


def write_pdf(path: Path) -> None:
    import fpdf

    file = fpdf.FPDF()
    file.set_title(RAIN.title)
    file.set_creation_date(WHEN)
    file.add_page()
    file.set_font("Helvetica")
    file.multi_cell(
        w=100,
        text="This first line is long enough to be broken once or twice, as "
        "lines of a page are. It rained.",
    )
    file.output(str(path))


def write_epub(path: Path) -> None:
    from ebooklib import epub

    book = epub.EpubBook()
    book.set_title("Weather")
    book.set_language("en")
    book.add_metadata("DC", "date", "2024-05-01")
    chapter = epub.EpubHtml(title="Rain", file_name="rain.xhtml")
    chapter.content = HTML
    book.add_item(chapter)
    book.add_item(epub.EpubNav())
    book.add_item(epub.EpubNcx())
    book.spine = ["nav", chapter]
    epub.write_epub(str(path), book)


def mail(sender: str, text: str, labels: str = "") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, "ann@x.org", "Rain"
    message["Date"] = WHEN
    if labels:
        message["X-Gmail-Labels"] = labels
    message.set_content(text)
    return message


REPLY = (
    "It rained all night.\n\nOn Tue, Apr 30, 2024 at 9:00 AM Ann <ann@x.org> wrote:\n\n"
    "> Did it rain?\n> Ann\n"
)
SIGNED = "It rained all night.\n\n-- \nMe, of the river house\n"


def write_mbox(path: Path, *mails: EmailMessage) -> None:
    box = mailbox.mbox(path)
    for message in mails:
        box.add(message)
    box.close()


def read(path: Path, reading: Reading | None = None) -> list[Document]:
    return read_path(path, reading or Reading(strict=True))


@pytest.mark.parametrize("write", [write_docx, write_odt])
def test_files_of_word_processors(tmp_path, write):
    path = tmp_path / f"a.{write.__name__.removeprefix('write_')}"
    write(path)
    assert read(path) == [RAIN]


def test_the_lines_of_a_pdf_become_paragraphs(tmp_path):
    write_pdf(tmp_path / "a.pdf")
    [found] = read(tmp_path / "a.pdf")
    assert (found.title, found.date) == ("Rain", "2024-05-01")
    assert "\n" not in found.text
    assert found.text.endswith("as lines of a page are. It rained.")


def test_a_scan_is_named(tmp_path):
    import fpdf

    file = fpdf.FPDF()
    file.add_page()
    file.output(str(tmp_path / "a.pdf"))
    with pytest.raises(FlyThinkerError, match=r"a\.pdf: no text in its pages \(a scan\?\)"):
        read(tmp_path / "a.pdf")


def test_a_book_is_a_text_a_chapter(tmp_path):
    write_epub(tmp_path / "a.epub")
    assert read(tmp_path / "a.epub") == [Document(RAIN.text, "Weather: Rain", RAIN.date)]


def test_rich_text(tmp_path):
    path = tmp_path / "2024-05-01 Rain.rtf"
    path.write_text(r"{\rtf1\ansi It rained all night.\par\par The river was high.\par}")
    assert read(path) == [RAIN]


def test_a_saved_page_without_what_stands_around_it(tmp_path):
    path = tmp_path / "a.html"
    path.write_text(
        "<html><head><title>Rain | My blog</title>"
        '<meta property="article:published_time" content="2024-05-01T10:00:00Z"></head><body>'
        "<nav>Home</nav><script>x()</script><article>"
        f"{HTML}<img src=a.png alt=A></article><footer>Imprint</footer></body></html>"
    )
    assert read(path) == [RAIN]


@pytest.mark.parametrize("text", [REPLY, SIGNED])
def test_quoted_mails_and_signatures_go(tmp_path, text):
    path = tmp_path / "a.eml"
    path.write_bytes(mail("Me <me@x.org>", text).as_bytes())
    assert read(path) == [Document("It rained all night.", "Rain", "2024-05-01")]


def test_whose_mails_of_a_mailbox(tmp_path):
    path = tmp_path / "a.mbox"
    write_mbox(path, mail("Me@x.org", "Mine."), mail("ann@x.org", "Hers."))
    with pytest.raises(FlyThinkerError, match=r"mails of 2 senders; say --from YOUR@ADDRESS"):
        read(path)
    assert [d.text for d in read(path, Reading(senders=("me@x.org",)))] == ["Mine."]

    takeout = tmp_path / "all.mbox"
    sent = mail("me@x.org", "Mine.", labels="Important,Sent")
    write_mbox(takeout, sent, mail("ann@x.org", "Hers.", labels="Inbox"))
    reading = Reading()
    assert [d.text for d in read(takeout, reading)] == ["Mine."]
    assert list(reading.assumed) == ["mails from me@x.org are the person's own"]
    assert reading.left_out["mails of others"] == 1


def test_wordpress_export(tmp_path):
    item = (
        "<item><title>{title}</title><content:encoded><![CDATA[{html}]]></content:encoded>"
        "<wp:post_date><![CDATA[2024-05-01 10:00:00]]></wp:post_date>"
        "<wp:post_type>{type}</wp:post_type><wp:status>{status}</wp:status></item>"
    )
    text = "<p>It rained all night.</p>\n<!-- wp:paragraph --><p>The river was high.</p>"
    items = (
        item.format(title="Rain", html=text, type="post", status="publish"),
        item.format(title="Old", html="One.\n\nTwo.", type="page", status="publish"),
        item.format(title="Draft", html=text, type="post", status="draft"),
        item.format(title="Picture", html=text, type="attachment", status="inherit"),
    )
    path = tmp_path / "blog.xml"
    path.write_text(
        '<?xml version="1.0"?><rss xmlns:content="http://purl.org/rss/1.0/modules/content/" '
        'xmlns:wp="http://wordpress.org/export/1.2/"><channel>'
        + "".join(items)
        + "</channel></rss>"
    )
    assert read(path) == [RAIN, Document("One.\n\nTwo.", "Old", "2024-05-01")]


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_substack_export(tmp_path):
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["post_id", "post_date", "is_published", "title"])
        table.writerow(["1.rain", "2024-05-01T10:00:00.000Z", "true", "Rain"])
        table.writerow(["2.draft", "", "false", "Draft"])
    path = zipped(
        tmp_path / "substack.zip",
        {
            "posts.csv": (tmp_path / "posts.csv").read_text(),
            "posts/1.rain.html": HTML.removeprefix("<h1>Rain</h1>"),
            "posts/2.draft.html": HTML,
        },
    )
    assert read(path) == [RAIN]


def test_notion_export(tmp_path):
    page = f"# Rain\n\nCreated: May 1, 2024 10:00 AM\nTags: weather\n\n{RAIN.text}\n"
    inner = zipped(tmp_path / "part.zip", {f"Rain {'0a' * 16}.md": page, "x.png": b"\x89PNG"})
    path = zipped(tmp_path / "notion.zip", {"Export-Part-1.zip": inner.read_bytes()})
    assert read(path) == [RAIN]


def test_google_takeout(tmp_path):
    write_mbox(tmp_path / "a.mbox", mail("me@x.org", "Mine.", labels="Sent"))
    micros = int(WHEN.timestamp() * 1e6)
    note = {"title": "Rain", "textContent": RAIN.text, "userEditedTimestampUsec": micros}
    path = zipped(
        tmp_path / "takeout.zip",
        {
            "Takeout/Mail/All mail.mbox": (tmp_path / "a.mbox").read_bytes(),
            "Takeout/Keep/Rain.json": json.dumps(note),
            "Takeout/Keep/Gone.json": json.dumps(note | {"isTrashed": True}),
            "Takeout/Other/settings.json": "{}",
        },
    )
    assert read(path) == [RAIN, Document("Mine.", "Rain", "2024-05-01")]


def test_a_note_of_takeout_that_is_none(tmp_path):
    """Such as its schema may become: it is named, and what lies beside it is read."""
    (tmp_path / "odd.json").write_text(json.dumps({"userEditedTimestampUsec": "x", "title": 7}))
    (tmp_path / "odd2.json").write_text(
        json.dumps({"userEditedTimestampUsec": "soon", "textContent": "Rain."})
    )
    (tmp_path / "rain.txt").write_text("It rained.")
    reading = Reading()
    assert [document.text for document in read(tmp_path, reading)] == ["It rained."]
    (skipped,) = reading.skipped
    assert "odd2.json" in skipped.where
    assert "not a note of Google Keep" in skipped.what


def test_twitter_archive(tmp_path):
    def tweet(text: str) -> dict[str, dict[str, str]]:
        return {"tweet": {"full_text": text, "created_at": "Wed May 01 10:00:00 +0000 2024"}}

    tweets = [tweet("@ann Rain &amp; wind. https://t.co/abc"), tweet("RT @ann: Sun.")]
    path = zipped(
        tmp_path / "twitter.zip",
        {
            "data/tweets.js": f"window.YTD.tweets.part0 = {json.dumps(tweets)}",
            "assets/main.js": "code()",
        },
    )
    assert read(path) == [Document("Rain & wind.", "", "2024-05-01")]


@pytest.mark.parametrize("kind", ["docx", "odt", "pdf", "epub", "rtf", "zip", "eml", "mbox"])
def test_broken_files_are_named(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_text("no such format")
    with pytest.raises(FlyThinkerError, match=rf"a\.{kind}: \w"):
        read_path(path, Reading())


def test_remarks_name_the_file_in_the_archive(tmp_path):
    path = zipped(tmp_path / "a.zip", {"good.txt": "Text.", "sub/bad.pdf": "no"})
    reading = Reading()
    assert [d.text for d in read(path, reading)] == ["Text."]
    assert [one.where for one in reading.skipped] == [f"{path}/sub/bad.pdf"]
    assert list(reading.documents) == ["txt in zip"]
