"""Documents from PDF files: their text, page by page."""

from __future__ import annotations

import io
import logging

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from gateway.errors import DocumentInvalid
from gateway.knowledge.reading.drafts import Found, Where, cleaned
from gateway.knowledge.reading.prose import prose, title_of

# It tells of every oddity of a file that it can read all the same.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def pdf(where: Where, name: str, content: bytes) -> Found:
    """A heading before each page lets citations tell it. Raises DocumentInvalid."""
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentInvalid("is encrypted: save it without a password")
        title = str((reader.metadata and reader.metadata.title) or "").strip()
        pages = [cleaned(page.extract_text()).strip() for page in reader.pages]
    except DocumentInvalid:
        raise
    except PyPdfError as error:
        raise DocumentInvalid(f"is a broken PDF file ({error}): save it anew") from None
    except Exception as error:  # noqa: BLE001 - what a broken file raises is anything, pypdf says
        why = "is encrypted in a way that pypdf alone cannot read" if "crypt" in str(error) else "is a broken PDF file"
        raise DocumentInvalid(f"{why} ({type(error).__name__}: {error}): save it anew, without a password") from None
    if not any(pages):
        raise DocumentInvalid(f"has no text on its {len(pages)} pages, only pictures if any: recognise its text (OCR)")
    text = "\n\n".join(f"## Page {number}\n\n{_no_headings(page)}" for number, page in enumerate(pages, 1) if page)
    return prose(where, name, text, cleaned(title).strip() or title_of(where.path))


def _no_headings(page: str) -> str:
    """A line that only looks like a heading would be cut at."""
    return "\n".join(f"\\{line}" if line.startswith("#") else line for line in page.splitlines())
