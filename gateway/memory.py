"""What a process holds no more goes back to the system now, not whenever collector and allocator get to it."""

from __future__ import annotations

import asyncio
import ctypes
import gc


async def give_back() -> None:
    """On the event loop, after something large was let go.

    A gateway is full of cycles. The collector counts a few thousand objects and sees no reason to look at them for
    hours, while 40 MB of graph and indexes hang on them: of 5 swaps in a minute all were kept. What has been frozen
    since the start is not looked at, so that this takes a millisecond or two; the collector runs here and not in a
    thread, as what it ends may belong to the loop.
    """
    gc.collect()
    await asyncio.to_thread(_trim)


def _trim() -> None:
    """Each bundle is loaded on a new thread, and glibc gives that an arena of its own: what was freed in it stays with
    the process, and is not used again before another thread happens to get the same one."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)
