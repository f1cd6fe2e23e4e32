"""What is called of libbpf, as ctypes sees it.

libbpf reads the object file, makes the maps and loads the program, which is much that changes with kernels; its bindings on PyPI
bring a compiler with them. No function of ours is given to it to be called back, because that would need memory that can be
written and executed, which the unit file forbids.
"""

import ctypes
import os
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

from appliance.edge.errors import EdgeError

_LIBRARY = "libbpf.so.1"
"""Release 1 of its interface: a function returns a negative errno, and one that returns a pointer sets errno."""

_NAME_BYTES = 16


class OpenOptions(ctypes.Structure):
    """`struct bpf_object_open_opts`."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", c_char_p),
        ("unused", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    )


class MapInfo(ctypes.Structure):
    """The beginning of `struct bpf_map_info`."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", ctypes.c_char * _NAME_BYTES),
    )


class RunOptions(ctypes.Structure):
    """`struct bpf_test_run_opts`."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_char_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


_FUNCTIONS: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
    ("libbpf_set_print", c_void_p, (c_void_p,)),
    ("bpf_object__open_file", c_void_p, (c_char_p, c_void_p)),
    ("bpf_object__load", c_int, (c_void_p,)),
    ("bpf_object__close", None, (c_void_p,)),
    ("bpf_object__next_map", c_void_p, (c_void_p, c_void_p)),
    ("bpf_object__next_program", c_void_p, (c_void_p, c_void_p)),
    ("bpf_map__name", c_char_p, (c_void_p,)),
    ("bpf_map__fd", c_int, (c_void_p,)),
    ("bpf_map__reuse_fd", c_int, (c_void_p, c_int)),
    ("bpf_map__set_max_entries", c_int, (c_void_p, c_uint32)),
    ("bpf_program__fd", c_int, (c_void_p,)),
    ("bpf_obj_pin", c_int, (c_int, c_char_p)),
    ("bpf_obj_get", c_int, (c_char_p,)),
    ("bpf_obj_get_info_by_fd", c_int, (c_int, c_void_p, c_void_p)),
    ("bpf_map_lookup_elem", c_int, (c_int, c_char_p, c_void_p)),
    ("bpf_map_update_elem", c_int, (c_int, c_char_p, c_char_p, c_uint64)),
    ("bpf_map_delete_elem", c_int, (c_int, c_char_p)),
    ("bpf_map_lookup_batch", c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)),
    ("bpf_map_update_batch", c_int, (c_int, c_char_p, c_char_p, c_void_p, c_void_p)),
    ("bpf_map_delete_batch", c_int, (c_int, c_char_p, c_void_p, c_void_p)),
    ("bpf_prog_test_run_opts", c_int, (c_int, c_void_p)),
)
"""Name, result and arguments of each function that is called."""


@cache
def library() -> ctypes.CDLL:
    """The library. Raises EdgeError when it is not installed."""
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
        for name, result, arguments in _FUNCTIONS:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise EdgeError(f"{_LIBRARY} cannot be used (Debian: package libbpf1): {error}") from error
    library.libbpf_set_print(None)  # it would write to stderr; errors say the same
    return library


def failed(what: str, answer: int = 0) -> EdgeError:
    """An error for an `answer` of libbpf, which is a negative errno, or for the errno it has set."""
    return EdgeError(f"cannot {what}: {os.strerror(-answer or ctypes.get_errno())}")
