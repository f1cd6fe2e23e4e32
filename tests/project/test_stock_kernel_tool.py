"""The runner for a stock kernel, as far as it goes without root, network and qemu."""

import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tools.stock_kernel import __main__ as command_line
from tools.stock_kernel import initramfs, packages, provision, qemu
from tools.stock_kernel.cpio import CpioWriter
from tools.stock_kernel.guest import Channel, relay
from tools.stock_kernel.job import Job
from tools.stock_kernel.kernel import Kernel, find, uncompressed
from tools.stock_kernel.modules import load_order, module_name, plain_module, read_dependencies
from tools.stock_kernel.packages import Requirement, install_missing
from tools.stock_kernel.shares import NineP, all_shares
from tools.stock_kernel.streams import FramedStream
from tools.stock_kernel.tooling import SetupError, run_tool

TOKEN = "abcabd"

MODULES_DEP = """\
kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko
kernel/fs/netfs/netfs.ko:
kernel/net/9p/9pnet.ko:
kernel/net/9p/9pnet_virtio.ko: kernel/net/9p/9pnet.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio-rng.ko.xz: kernel/drivers/virtio/virtio.ko
"""
BUILTIN = ["kernel/fs/overlayfs/overlay.ko"]


# --- the archive -------------------------------------------------------------------------------------------------------


def small_archive() -> bytes:
    archive = CpioWriter()
    archive.directory("bin")
    archive.file("bin/tool", b"12345", 0o755)
    archive.symlink("bin/alias", "tool")
    return archive.finish()


def test_archive_entry_has_the_newc_header_and_both_paddings() -> None:
    archive = CpioWriter()
    archive.file("ab", b"12345", 0o640)
    fields = "00000001000081A00000000000000000000000010000000000000005"
    fields += "00000000" * 4 + "0000000300000000"
    # 110 bytes of header and 3 of name are padded to 116, 5 of content to 8.
    assert archive.finish().startswith(b"070701" + fields.encode() + b"ab\0" + b"\0" * 3 + b"12345\0\0\0" + b"070701")


def test_archive_ends_with_the_trailer_entry() -> None:
    assert small_archive().rstrip(b"\0").endswith(b"TRAILER!!!")
    assert len(small_archive()) % 4 == 0


def cpio_program() -> list[str] | None:
    if shutil.which("cpio"):
        return ["cpio"]
    return ["busybox", "cpio"] if shutil.which("busybox") else None


@pytest.mark.skipif(cpio_program() is None, reason="needs cpio or busybox to read the archive back")
def test_another_program_reads_the_archive(tmp_path: Path) -> None:
    program = cpio_program()
    assert program is not None
    subprocess.run([*program, "-i"], input=small_archive(), cwd=tmp_path, check=True)
    tool = tmp_path / "bin" / "tool"
    assert tool.read_bytes() == b"12345"
    assert tool.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "bin" / "alias").readlink() == Path("tool")


# --- modules and the kernel --------------------------------------------------------------------------------------------


def test_modules_load_after_what_they_need_and_once() -> None:
    order = load_order(["9pnet_virtio", "9p"], read_dependencies(MODULES_DEP), BUILTIN)
    names = [module_name(path) for path in order]
    assert sorted(names) == ["9p", "9pnet", "9pnet_virtio", "netfs", "virtio"]
    for path, needed in read_dependencies(MODULES_DEP).items():
        if path in order:
            assert all(order.index(other) < order.index(path) for other in needed)


def test_module_that_is_built_in_is_not_loaded() -> None:
    assert load_order(["overlay"], read_dependencies(MODULES_DEP), BUILTIN) == []


def test_module_that_the_kernel_lacks_is_named() -> None:
    with pytest.raises(SetupError, match="no module virtiofs"):
        load_order(["virtiofs"], read_dependencies(MODULES_DEP), BUILTIN)


def test_module_name_has_no_suffix_and_no_dash() -> None:
    assert module_name("kernel/drivers/virtio/virtio-rng.ko.xz") == "virtio_rng"


def test_compressed_module_is_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "a.ko.xz"
    packed.write_bytes(lzma.compress(b"object code"))
    assert plain_module(packed) == b"object code"


def test_module_in_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "a.ko.zst"
    packed.write_bytes(b"?")
    with pytest.raises(SetupError, match=r"a\.ko\.zst"):
        plain_module(packed)


def boot_image(payload: bytes) -> bytes:
    """A compressed kernel as the x86 boot protocol lays it out: one boot sector, two of setup, the payload."""
    payload_offset = 16
    image = bytearray(3 * 512 + payload_offset)
    image[0x1F1] = 2
    struct.pack_into("<II", image, 0x248, payload_offset, len(payload))
    return bytes(image) + payload + b"what follows the payload"


def test_kernel_is_taken_out_of_its_compressed_image() -> None:
    elf = b"\x7fELF and the rest"
    packed = lzma.compress(elf) + struct.pack("<I", len(elf))
    assert uncompressed(boot_image(packed)) == elf


@pytest.mark.parametrize("payload", [b"\x28\xb5\x2f\xfd zstd", lzma.compress(b"not an ELF file")])
def test_kernel_in_another_form_is_booted_as_it_is(payload: bytes) -> None:
    assert uncompressed(boot_image(payload)) is None


def unpacked_kernel(root: Path) -> Kernel:
    """A kernel's directory with just what an initramfs is built from."""
    modules = root / "lib/modules/6.1.0-test"
    (root / "boot").mkdir()
    (root / "boot/vmlinuz-6.1.0-test").touch()
    needed = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
    for name in needed:
        (modules / "kernel").mkdir(parents=True, exist_ok=True)
        (modules / f"kernel/{name}.ko").write_bytes(name.encode())
    (modules / "modules.dep").write_text("".join(f"kernel/{name}.ko:\n" for name in needed))
    (modules / "modules.builtin").touch()
    return find(root)


def test_uncompressed_kernel_is_preferred(tmp_path: Path) -> None:
    kernel = unpacked_kernel(tmp_path)
    assert kernel.image.name == "vmlinuz-6.1.0-test"
    (tmp_path / "boot/vmlinux-6.1.0-test").touch()
    assert kernel.image.name == "vmlinux-6.1.0-test"


def test_directory_without_a_kernel_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="found 0"):
        find(tmp_path)


# --- what the guest does -----------------------------------------------------------------------------------------------


def run_job(job: Job) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh"], input=job.script(), capture_output=True, text=True, env={})


def test_job_keeps_words_variables_and_directory(tmp_path: Path) -> None:
    directory = tmp_path / 'it\'s a "place"'
    directory.mkdir()
    script = """printf '<%s>' "$@" "$WORDS" "$PWD\""""
    words = ["two words", "$HOME", "don't", ""]
    job = Job(("sh", "-c", script, "sh", *words), directory, {"WORDS": "a\nb 'c'"})
    assert run_job(job).stdout == "".join(f"<{word}>" for word in [*words, "a\nb 'c'", directory])


def test_job_whose_directory_the_guest_lacks_counts_as_not_started(tmp_path: Path) -> None:
    result = run_job(Job(("true",), tmp_path / "absent", {}))
    assert result.returncode == 126
    assert "absent" in result.stderr


def test_every_job_has_a_token_of_its_own() -> None:
    assert len({Job(("true",), Path("/"), {}).token for _ in range(10)}) == 10


def test_initramfs_holds_the_job_the_modules_and_no_writable_root(tmp_path: Path) -> None:
    kernel = unpacked_kernel(tmp_path)
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"static program")
    job = Job(("echo", "marked command"), Path("/"), {}, (Path("/a b"),))
    archive = initramfs.build(kernel, busybox, NineP(), all_shares(job.writable), job)
    for expected in (b"static program", b"marked command", b"-9pnet_virtio.ko\0", job.token.encode()):
        assert expected in archive
    assert b"share writable0 '/a b'\n" in archive
    assert b"share root" not in archive


@pytest.mark.parametrize("name", ["init.sh", "stage2.sh"])
def test_guest_scripts_are_valid_shell(name: str) -> None:
    subprocess.run(["/bin/sh", "-n", initramfs.HERE / name], check=True)


def test_init_uses_only_the_applets_it_gets() -> None:
    script = (initramfs.HERE / "init.sh").read_text()
    # `fail` and `share` are its own functions; the rest of a line's first words is the shell itself.
    own = {"fail", "share", "exec", "export", "for", "done", ".", "}", "fail()", "share()", "echo"}
    words = (line.split()[0] for line in script.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    assert {word for word in words if "=" not in word} - own <= set(initramfs.APPLETS)


# --- the machine -------------------------------------------------------------------------------------------------------


def arguments(*, verbose: bool = False, kvm: bool = False) -> list[str]:
    machine = qemu.Machine("1G", 3, kvm, verbose)
    return qemu.command_line(machine, Path("/k"), Path("/i"), qemu.Ports(11, 12, 13), ["-share"])


def value_of(option: str, command: list[str]) -> str:
    return command[command.index(option) + 1]


def test_qemu_gets_the_machine_the_caller_asked_for() -> None:
    command = arguments()
    values = {option: value_of(option, command) for option in ("-m", "-smp", "-kernel", "-initrd")}
    assert values == {"-m": "1G", "-smp": "3", "-kernel": "/k", "-initrd": "/i"}
    assert command[-1] == "-share"


def test_ports_have_the_numbers_that_the_guest_script_opens() -> None:
    command = arguments()
    script = (initramfs.HERE / "stage2.sh").read_text()
    assert "socket,id=out,fd=11" in command
    assert "virtserialport,nr=1,chardev=out" in command
    assert "out >/dev/vport0p1" in script
    assert "socket,id=err,fd=12" in command
    assert "virtserialport,nr=2,chardev=err" in command
    assert "err >/dev/vport0p2" in script
    assert "socket,id=console,fd=13" in command


def test_guest_has_no_network_card() -> None:
    assert value_of("-nic", arguments()) == "none"


def test_kernel_log_is_quiet_unless_asked_for() -> None:
    assert "quiet" in value_of("-append", arguments()).split()
    assert "quiet" not in value_of("-append", arguments(verbose=True)).split()


def test_emulation_has_one_processor_unless_asked_for_more() -> None:
    assert qemu.default_cpus(kvm=False) == 1


def test_accelerator_follows_the_machine() -> None:
    assert value_of("-accel", arguments(kvm=True)) == "kvm"
    assert value_of("-accel", arguments()).startswith("tcg")


@pytest.mark.parametrize(("flags", "usable"), [("fpu vmx sse", True), ("fpu svm", True), ("fpu vmxnet", False)])
def test_kvm_needs_the_processor_and_not_only_the_device(tmp_path: Path, flags: str, usable: bool) -> None:
    cpuinfo, device = tmp_path / "cpuinfo", tmp_path / "kvm"
    cpuinfo.write_text(f"model name\t: vmx in a name does not count\nflags\t\t: {flags}\n")
    device.touch()
    assert qemu.kvm_usable(cpuinfo, device) is usable
    assert not qemu.kvm_usable(cpuinfo, tmp_path / "absent")


def test_root_is_shared_read_only_and_other_directories_writable() -> None:
    root, other = all_shares([Path("/a,b")])
    assert "readonly=on" in NineP().device(root)[1]
    assert "readonly=on" not in NineP().device(other)[1]
    assert ",path=/a,,b," in NineP().device(other)[1]


# --- output and exit code ----------------------------------------------------------------------------------------------


HEADER = TOKEN.encode() + b"\n"


def started_stream() -> FramedStream:
    stream = FramedStream(TOKEN)
    assert stream.feed(HEADER) == b""
    return stream


@pytest.mark.parametrize("output", [b"", b"plain\n", b"abc", b"abcab", b"ababcab\xff\0", TOKEN.encode() + b" is not it"])
def test_output_is_the_same_however_it_is_cut(output: bytes) -> None:
    sent = HEADER + output + TOKEN.encode() + b" 42\n"
    for cut in range(len(sent) + 1):
        stream = FramedStream(TOKEN)
        assert stream.feed(sent[:cut]) + stream.feed(sent[cut:]) == output
        assert stream.exit_code == 42


def test_job_has_started_when_the_whole_header_is_here() -> None:
    stream = FramedStream(TOKEN)
    states = []
    for part in (HEADER[:-1], HEADER[-1:]):
        stream.feed(part)
        states.append((stream.started, stream.exit_code))
    assert states == [(False, None), (True, None)]


def test_output_that_cannot_be_a_trailer_is_not_held_back() -> None:
    stream = started_stream()
    assert stream.feed(b"prompt: abd") == b"prompt: abd"
    assert stream.exit_code is None


def test_what_looks_like_a_trailer_is_output_when_the_guest_dies() -> None:
    stream = started_stream()
    assert stream.feed(b"last abcab") == b"last "
    assert stream.rest() == b"abcab"


def test_output_after_the_trailer_is_dropped() -> None:
    stream = started_stream()
    stream.feed(TOKEN.encode() + b" 0\n")
    assert stream.feed(b"a daemon's late words") == b""


def test_relay_ends_when_the_other_side_has_died() -> None:
    received: list[bytes] = []
    channel = Channel(received.append)
    channel.of_qemu.sendall(b"some output")
    channel.of_qemu.close()
    assert relay([channel], lambda: False, deadline=float("inf")) is True
    assert b"".join(received) == b"some output"
    channel.close()


def test_relay_tells_that_time_is_up() -> None:
    channel = Channel(lambda _chunk: None)
    assert relay([channel], lambda: False, deadline=0.0) is False
    channel.close()


# --- what is missing ---------------------------------------------------------------------------------------------------


def test_missing_packages_are_named_to_whoever_may_not_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    wanted = [Requirement("present", ("sh",)), Requirement("absent", ("no-such-program",))]
    with pytest.raises(SetupError, match=r"missing packages: absent .*apt-get install"):
        install_missing(wanted)


# As apt-get: writes down what it is asked for. `install` works only with new lists, and then makes the program.
STAND_IN_APT_GET = """\
#!/bin/sh
for last; do :; done
case "$*" in
    *update) echo update >>"$DIRECTORY/calls"; touch "$DIRECTORY/lists/new_Packages" ;;
    *install*) echo "install $last" >>"$DIRECTORY/calls"; [ -e "$DIRECTORY/lists/new_Packages" ] || exit 100
        cp "$0" "$DIRECTORY/program" ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a stand-in for apt-get, first on PATH, and with its empty package lists."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "apt-get").write_text(STAND_IN_APT_GET)
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("DIRECTORY", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(packages, "PACKAGE_LISTS", tmp_path / "lists")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path


def test_empty_package_lists_are_filled_before_installing(machine: Path) -> None:
    install_missing([Requirement("wanted", (str(machine / "program"),))])
    assert (machine / "calls").read_text() == "update\ninstall wanted\n"


def test_old_package_lists_are_renewed_when_installing_fails(machine: Path) -> None:
    (machine / "lists/old_Packages").touch()
    install_missing([Requirement("wanted", (str(machine / "program"),))])
    assert (machine / "calls").read_text() == "install wanted\nupdate\ninstall wanted\n"


def test_nothing_is_installed_when_nothing_is_missing(machine: Path) -> None:
    install_missing([Requirement("shell", ("sh",))])
    assert not (machine / "calls").exists()


def test_package_that_does_not_bring_its_program_is_named(machine: Path) -> None:
    with pytest.raises(SetupError, match="their programs are missing: odd"):
        install_missing([Requirement("odd", (str(machine / "absent"),))])


def test_requirement_is_met_by_any_of_its_programs() -> None:
    assert packages.missing([Requirement("shell", ("no-such-program", "/bin/sh"))]) == []


def test_failed_program_is_quoted() -> None:
    with pytest.raises(SetupError, match=r"(?s)'sh -c .*' failed:.*the reason"):
        run_tool(["sh", "-c", "echo the reason >&2; exit 3"])


def test_program_that_is_not_there_is_named() -> None:
    with pytest.raises(SetupError, match="cannot run no-such-program"):
        run_tool(["no-such-program"])


def test_other_machines_are_refused_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(SetupError, match="x86-64 only"):
        provision.provide(tmp_path, provision.DEFAULT_FLAVOUR)


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache"),
        ({"HOME": "/h"}, "/h/.cache"),
    ],
)
def test_cache_is_where_the_base_directory_rules_say(environment: dict[str, str], base: str) -> None:
    assert provision.cache_directory(environment) == Path(base, "appliance-stock-kernel")


# --- the command line --------------------------------------------------------------------------------------------------


def test_command_may_have_options_and_a_separator_of_its_own() -> None:
    options = command_line.parser().parse_args(["--cpus", "1", "--", "lab", "--shards", "2", "--", "curl"])
    assert options.command == ["lab", "--shards", "2", "--", "curl"]


@pytest.mark.parametrize(
    "wrong",
    [["--timeout", "0"], ["--timeout", "nan"], ["--memory", "2"], ["--memory", "2G,share=on"], ["--cpus", "0"]],
)
def test_senseless_options_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.parser().parse_args([*wrong, "--", "true"])
    assert wrong[0] in capsys.readouterr().err


def test_only_named_variables_are_passed() -> None:
    present = {"PATH": "/bin", "HOME": "/h", "WANTED": "1", "SECRET": "2"}
    passed = command_line.passed_environment(["WANTED", "UNSET"], present)
    assert passed == {"PATH": "/bin", "HOME": "/h", "WANTED": "1"}
