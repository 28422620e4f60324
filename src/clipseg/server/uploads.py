"""A picture's file out of a request's body, in memory."""

from __future__ import annotations

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from clipseg.errors import PictureError
from clipseg.server.refusals import MediaError, RequestError

FORM = "multipart/form-data"
PLAIN = ("image/", "application/octet-stream")


class InMemory(MultiPartParser):
    """Parts never become files on a disk, however large they are."""

    spool_max_size = 0  # as SpooledTemporaryFile understands it: no size is too large


async def picture_file(request: Request) -> bytes:
    """The body itself, or the part `file` of a form -> the file. Raises MediaError, RequestError and PictureError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        content = await _part(request)
    elif kind.startswith(PLAIN):
        content = await request.body()
    else:
        raise MediaError(f"a picture is sent as image/…, application/octet-stream or {FORM}; got {kind!r}")
    if not content:
        raise PictureError("the picture is empty (0 bytes)")
    return content


async def _part(request: Request) -> bytes:
    try:
        form = await InMemory(request.headers, request.stream(), max_files=1, max_fields=8).parse()
    except (MultiPartException, ValueError) as error:  # ValueError: a boundary or charset that is none
        raise RequestError(f"this is no form with one file ({error})") from None
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RequestError("the form has no part called file, with a file's name")
        return await file.read()
    finally:
        await form.close()
