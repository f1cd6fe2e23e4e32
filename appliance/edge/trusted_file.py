"""Which files are trusted: those that nobody but root and the user of this process can change."""

import os
import stat

_ROOT = 0


def reason_against(status: os.stat_result) -> str:
    """Why an open file is not trusted; empty when it is. It is regular, so it keeps nobody waiting."""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if status.st_uid not in (_ROOT, os.geteuid()):
        return f"it belongs to user {status.st_uid}, and neither to root nor to the user of the appliance"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others than its owner may change it (mode {mode:04o}); chmod go-w"
    return ""
