"""deploy/install.sh, run for real into a scratch root.

All tests but the last build the release with a stand-in interpreter, which writes down how it was called: they need
neither network nor root and look at what the script decides. The last one builds the real release.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

# As an interpreter: `-m venv DIR` makes DIR/bin/python out of itself, `-m pip ... install ... DIR` a command.
STAND_IN_PYTHON = """\
#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
[ -z "${FAIL_ON:-}" ] || case "$*" in *"$FAIL_ON"*) exit 1 ;; esac
for last; do :; done
case $* in
    -V) echo "Python 3.11.0" ;;
    "-I -m appliance completion "*) echo "script for $last" ;;
    "-m venv"*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python" ;;
    *" install "*--no-deps*)
        cp "$last/appliance/__init__.py" "$(dirname "$0")/appliance" && mkdir "$last/build"
        [ ! -e "$last/appliance/lane.bpf.o" ] || cp "$last/appliance/lane.bpf.o" "$(dirname "$0")"
        for page in swagger-ui uplot; do
          [ ! -e "$last/appliance/$page" ] || cp -R "$last/appliance/$page" "$(dirname "$0")"
        done ;;
esac
"""

STAND_IN_BUILD = """\
#!/bin/sh
cd "$(dirname "$0")/.."
printf 'build_lane %s with %s\\n' "$1" "$PYTHON" >>"$CALLS"
[ -z "${FAIL_ON:-}" ] || case "build_lane" in *"$FAIL_ON"*) exit 1 ;; esac
printf 'object' >"$1"
"""
"""In the place of tools/build_lane.sh."""

LANE_SOURCES = ("bpf/lane.bpf.c", "tools/__init__.py", "tools/lane_header.py", "tools/build_lane.sh")


@dataclass
class Installer:
    """A small source tree, a scratch root, and a way to run the script of the one into the other."""

    source: Path
    root: Path
    tools: Path
    calls_file: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script into the root; `environment` adds to its variables."""
        return self.run_bare("--root", str(self.root), *options, **environment)

    def run_bare(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script with these options and no other."""
        return subprocess.run(
            ["/bin/sh", str(self.source / "deploy/install.sh"), *options],
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
        )

    def install(self, *options: str, **environment: str) -> str:
        """Run the script, insist that it succeeds, and return what it printed."""
        result = self.run(*options, **environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def calls(self) -> list[str]:
        """How the stand-in tools were called since the last question, oldest first."""
        calls = self.calls_file.read_text().splitlines()
        self.calls_file.write_text("")
        return calls

    def add_tool(self, name: str, script: str) -> None:
        """Put a stand-in before the real program of that name on the script's PATH."""
        tool = self.tools / name
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)

    @property
    def release(self) -> Path:
        """The release in force."""
        return (self.root / "opt/appliance/current").resolve(strict=True)


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    source, root, tools, calls = (tmp_path / name for name in ("source", "root", "tools", "calls"))
    for directory in (source / "appliance", source / "etc", source / "bpf", source / "tools", root, tools):
        directory.mkdir(parents=True)
    shutil.copytree(PROJECT / "deploy", source / "deploy")
    for name in (
        "pyproject.toml",
        "requirements.lock",
        "requirements-build.lock",
        "requirements-top.lock",
        "README.md",
        "LICENSE",
        "appliance/__init__.py",
        *LANE_SOURCES,
    ):
        (source / name).write_text(f"# {name}\n")
    (source / "etc/lvs.toml").write_text("# as shipped\n")
    (source / "tools/build_lane.sh").write_text(STAND_IN_BUILD)
    (source / "tools/build_lane.sh").chmod(0o755)
    calls.write_text("")
    made = Installer(source, root, tools, calls)
    made.environment = {
        "PYTHON": str(tools / "python"),
        "CALLS": str(calls),
        "PATH": f"{tools}:{os.environ['PATH']}",
    }
    made.add_tool("python", STAND_IN_PYTHON.removeprefix("#!/bin/sh\n"))
    made.add_tool("apt-get", 'printf "apt-get %s\\n" "$*" >>"$CALLS"')
    return made


def tree_of(root: Path) -> dict[str, tuple[str, bytes | str]]:
    """Path to (type and mode, content or link target) for all that lies below `root`."""
    tree: dict[str, tuple[str, bytes | str]] = {}
    for path in sorted(root.rglob("*")):
        mode = stat.filemode(path.lstat().st_mode)
        content = os.readlink(path) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
        tree[str(path.relative_to(root))] = (mode, content)
    return tree


def test_installs_what_the_service_needs(installer: Installer) -> None:
    installer.install()
    tree = tree_of(installer.root)
    assert tree["etc/appliance/lvs.toml"] == ("-rw-r-----", b"# as shipped\n")
    assert tree["etc/systemd/system/appliance.service"][0] == "-rw-r--r--"
    assert tree["etc/systemd/system/appliance-dataplane.service"][0] == "-rw-r--r--"
    assert tree["etc/sysctl.d/90-appliance.conf"][0] == "-rw-r--r--"
    assert (installer.root / "usr/local/bin/appliance").resolve() == installer.release / "bin/appliance"
    assert tree["usr/local/share/bash-completion/completions/appliance"] == ("-rw-r--r--", b"script for bash\n")
    assert tree["usr/local/share/zsh/site-functions/_appliance"] == ("-rw-r--r--", b"script for zsh\n")


def test_installing_twice_gives_the_same_tree(installer: Installer) -> None:
    installer.install()
    first = tree_of(installer.root)
    installer.install()
    assert tree_of(installer.root) == first


def test_links_do_not_leave_the_scratch_root(installer: Installer) -> None:
    installer.install()
    links = [path for path in installer.root.rglob("*") if path.is_symlink()]
    assert links
    assert all(path.resolve(strict=True).is_relative_to(installer.root) for path in links)


def test_a_strict_umask_does_not_lock_the_service_out(installer: Installer) -> None:
    result = subprocess.run(
        ["/bin/sh", str(installer.source / "deploy/install.sh"), "--root", str(installer.root)],
        env={**os.environ, **installer.environment},
        capture_output=True,
        umask=0o077,
    )
    assert result.returncode == 0
    for directory in (installer.release, *installer.release.relative_to(installer.root).parents):
        assert stat.S_IMODE((installer.root / directory).stat().st_mode) & 0o055 == 0o055


class TestRelease:
    def test_dependencies_are_hash_checked_and_the_project_comes_without_any(self, installer: Installer) -> None:
        installer.install()
        pip = [call for call in installer.calls() if " install " in call]
        assert len(pip) == 3
        build, dependencies, project = pip
        assert "--require-hashes" in build
        assert "--only-binary :all:" in build
        assert build.endswith("/requirements-build.lock")
        assert "--require-hashes" in dependencies
        assert dependencies.endswith("/requirements.lock")
        assert "--no-deps" in project
        assert "--editable" not in project

    def test_nothing_is_built_with_tools_that_no_lock_file_names(self, installer: Installer) -> None:
        installer.install()
        _, *building = [call for call in installer.calls() if " install " in call]
        assert all("--no-build-isolation" in call for call in building)
        lock = (PROJECT / "requirements-build.lock").read_text()
        [wanted] = re.findall(r'requires = \["setuptools>=(\d+)"\]', (PROJECT / "pyproject.toml").read_text())
        [locked] = re.findall(r"^setuptools==(\d+)", lock, re.MULTILINE)
        assert int(locked) >= int(wanted)

    def test_the_build_leaves_no_trace_in_the_source_tree(self, installer: Installer) -> None:
        before = tree_of(installer.source)
        installer.install()
        assert tree_of(installer.source) == before

    def test_an_unchanged_source_tree_is_not_built_again(self, installer: Installer) -> None:
        installer.install()
        installer.calls()
        installer.install()
        assert not [call for call in installer.calls() if call.startswith("-m")]

    def test_byte_code_is_not_a_change(self, installer: Installer) -> None:
        installer.install()
        release = installer.release
        cache = installer.source / "appliance/__pycache__"
        cache.mkdir()
        (cache / "x.cpython-311.pyc").write_bytes(b"x")
        installer.install()
        assert installer.release == release

    @pytest.mark.parametrize(
        "changed",
        ["appliance/__init__.py", "pyproject.toml", "requirements.lock", "requirements-build.lock", *LANE_SOURCES],
    )
    def test_a_changed_source_tree_replaces_the_release(self, installer: Installer, changed: str) -> None:
        installer.install()
        old = installer.release
        with (installer.source / changed).open("a") as file:
            file.write("# changed\n")
        installer.install()
        assert installer.release != old
        assert not old.exists()

    @pytest.mark.parametrize(
        "failing_step", ["-m venv", "requirements-build.lock", "requirements.lock", "build_lane", "--no-deps", "completion zsh"]
    )
    def test_a_run_that_failed_half_way_is_completed_by_the_next(self, installer: Installer, failing_step: str) -> None:
        failed = installer.run(FAIL_ON=failing_step)
        assert failed.returncode != 0
        assert "run it again" in failed.stderr
        assert not (installer.root / "opt/appliance/current").exists()
        installer.install()
        assert (installer.root / "usr/local/bin/appliance").read_text() == "# appliance/__init__.py\n"

    def test_a_failed_upgrade_leaves_the_old_release_in_force(self, installer: Installer) -> None:
        installer.install()
        before = installer.release
        (installer.source / "appliance/__init__.py").write_text("# new\n")
        assert installer.run(FAIL_ON="--no-deps").returncode != 0
        assert installer.release == before
        assert (installer.root / "usr/local/bin/appliance").read_text() == "# appliance/__init__.py\n"

    def test_an_old_interpreter_is_refused(self, installer: Installer) -> None:
        failed = installer.run(FAIL_ON="version_info")
        assert failed.returncode == 1
        assert "older than 3.11" in failed.stderr


class TestLane:
    def test_its_program_is_compiled_and_lies_in_the_release(self, installer: Installer) -> None:
        installer.install()
        [call] = [call for call in installer.calls() if call.startswith("build_lane")]
        assert call == f"build_lane appliance/lane.bpf.o with {installer.release}/bin/python"
        assert (installer.release / "bin/lane.bpf.o").read_text() == "object"

    def test_it_can_be_left_out(self, installer: Installer) -> None:
        installer.install("--without-lane")
        assert not [call for call in installer.calls() if call.startswith("build_lane")]
        assert not (installer.release / "bin/lane.bpf.o").exists()

    def test_leaving_it_out_needs_no_source_of_it(self, installer: Installer) -> None:
        shutil.rmtree(installer.source / "bpf")
        shutil.rmtree(installer.source / "tools")
        assert "lacks bpf" in installer.run().stderr
        installer.install("--without-lane")

    def test_a_release_with_it_and_one_without_are_two(self, installer: Installer) -> None:
        installer.install("--without-lane")
        without = installer.release
        installer.install()
        assert installer.release != without
        assert (installer.release / "bin/lane.bpf.o").exists()

    def test_where_it_cannot_be_compiled_the_way_without_it_is_named(self, installer: Installer) -> None:
        assert "--without-lane" in installer.run(FAIL_ON="build_lane").stderr


class TestTop:
    """What `appliance top` needs is installed where it was asked for, from a lock file."""

    def test_it_is_installed_with_its_hashes_and_without_a_build(self, installer: Installer) -> None:
        installer.install("--with-top")
        [call] = [call for call in installer.calls() if call.endswith("/requirements-top.lock")]
        assert "--require-hashes" in call
        assert "--only-binary :all:" in call

    def test_it_is_not_installed_otherwise(self, installer: Installer) -> None:
        installer.install()
        assert not [call for call in installer.calls() if "requirements-top.lock" in call]

    def test_a_release_with_it_and_one_without_are_two(self, installer: Installer) -> None:
        installer.install()
        without = installer.release
        installer.install("--with-top")
        assert installer.release != without

    def test_where_it_cannot_be_installed_the_way_without_it_is_named(self, installer: Installer) -> None:
        result = installer.run("--with-top", FAIL_ON="requirements-top.lock")
        assert result.returncode == 1
        assert "without --with-top" in result.stderr

    def test_it_does_not_go_with_uninstall(self, installer: Installer) -> None:
        assert installer.run("--uninstall", "--with-top").returncode == 2

    def test_its_versions_are_those_that_the_tests_run_with(self) -> None:
        """And those of the packages that the appliance needs as well: all lie in one environment."""
        locked = {
            name: dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (PROJECT / name).read_text(), re.MULTILINE))
            for name in ("requirements-top.lock", "requirements-dev.lock", "requirements.lock")
        }
        top = locked["requirements-top.lock"]
        assert "textual" in top
        assert top.items() <= locked["requirements-dev.lock"].items()
        common = top.keys() & locked["requirements.lock"].keys()
        assert {name: top[name] for name in common} == {name: locked["requirements.lock"][name] for name in common}


@pytest.mark.parametrize("page", ["swagger-ui", "uplot"])
class TestPagesOfTheApi:
    def test_its_program_lies_in_the_release_when_it_was_fetched(self, installer: Installer, page: str) -> None:
        place = installer.source / "build" / page
        place.mkdir(parents=True)
        (place / "page.css").write_text("style")
        installer.install()
        assert (installer.release / "bin" / page / "page.css").read_text() == "style"

    def test_a_release_with_it_and_one_without_are_two(self, installer: Installer, page: str) -> None:
        installer.install()
        without = installer.release
        place = installer.source / "build" / page
        place.mkdir(parents=True)
        (place / "page.css").write_text("style")
        installer.install()
        assert installer.release != without


class TestConfiguration:
    def test_is_kept_when_present(self, installer: Installer) -> None:
        installer.install()
        config = installer.root / "etc/appliance/lvs.toml"
        config.write_text("# mine\n")
        (installer.source / "etc/lvs.toml").write_text("# newly shipped\n")
        assert f"{config} is kept" in installer.install()
        assert config.read_text() == "# mine\n"

    def test_the_reader_is_told_that_nothing_was_started_and_why(self, installer: Installer) -> None:
        printed = installer.install()
        assert "not started" in printed
        assert "documentation addresses" in printed
        assert f"check {installer.root}/etc/appliance/lvs.toml" in printed


class TestUninstall:
    def test_leaves_an_empty_tree(self, installer: Installer) -> None:
        installer.install()
        installer.install("--uninstall")
        assert tree_of(installer.root) == {}

    def test_leaves_an_empty_tree_after_a_failed_installation(self, installer: Installer) -> None:
        installer.run(FAIL_ON="--no-deps")
        installer.install("--uninstall")
        assert tree_of(installer.root) == {}

    def test_leaves_the_completion_of_others(self, installer: Installer) -> None:
        other = installer.root / "usr/local/share/bash-completion/completions/other"
        other.parent.mkdir(parents=True)
        other.write_text("theirs\n")
        installer.install()
        installer.install("--uninstall")
        assert [path for path in installer.root.rglob("*") if path.is_file()] == [other]

    def test_leaves_what_others_put_there(self, installer: Installer) -> None:
        other = installer.root / "etc/systemd/system/other.service"
        other.parent.mkdir(parents=True)
        other.write_text("[Unit]\n")
        before = tree_of(installer.root)
        installer.install()
        installer.install("--uninstall")
        assert tree_of(installer.root) == before

    def test_can_keep_the_configuration(self, installer: Installer) -> None:
        installer.install()
        installer.install("--uninstall", "--keep-config")
        assert list(tree_of(installer.root)) == ["etc", "etc/appliance", "etc/appliance/lvs.toml"]

    def test_of_nothing_is_no_error(self, installer: Installer) -> None:
        installer.install("--uninstall")
        assert tree_of(installer.root) == {}


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "word"),
        [
            (["--purge"], "'--purge'"),
            (["lvs.toml"], "'lvs.toml'"),
            (["--keep-config"], "--uninstall"),
            (["--uninstall", "--with-packages"], "--with-packages"),
            (["--uninstall", "--without-lane"], "--without-lane"),
            (["--root"], "directory"),
            (["--root", "/"], "--root"),
        ],
    )
    def test_wrong_options_change_nothing(self, installer: Installer, options: list[str], word: str) -> None:
        result = installer.run(*options)
        assert result.returncode == 2
        assert word in result.stderr
        assert "nothing was changed" in result.stderr
        assert tree_of(installer.root) == {}
        assert installer.calls() == []

    @pytest.mark.parametrize("options", [[], ["--uninstall"]])
    def test_without_root_rights_it_says_so(self, installer: Installer, options: list[str]) -> None:
        installer.add_tool("id", "echo 1000")
        result = installer.run_bare(*options)
        assert result.returncode == 1
        assert "must run as root" in result.stderr
        assert installer.calls() == []

    def test_an_incomplete_source_tree_is_named(self, installer: Installer) -> None:
        (installer.source / "requirements.lock").unlink()
        result = installer.run()
        assert result.returncode == 1
        assert "requirements.lock" in result.stderr
        assert tree_of(installer.root) == {}

    def test_a_command_of_that_name_which_is_not_ours_stays(self, installer: Installer) -> None:
        command = installer.root / "usr/local/bin/appliance"
        command.parent.mkdir(parents=True)
        command.write_text("somebody's\n")
        assert installer.run().returncode == 1
        installer.install("--uninstall")
        assert command.read_text() == "somebody's\n"

    def test_help_is_no_refusal(self, installer: Installer) -> None:
        result = installer.run("--help")
        assert result.returncode == 0
        for option in ("--root", "--with-packages", "--without-lane", "--uninstall", "--keep-config"):
            assert option in result.stdout


class TestPackages:
    @pytest.fixture(autouse=True)
    def only_nftables_is_missing(self, installer: Installer) -> None:
        installer.add_tool("dpkg-query", 'case "$*" in *nftables*) exit 1 ;; *) printf installed ;; esac')

    def test_are_left_alone_in_a_scratch_root(self, installer: Installer) -> None:
        installer.install()
        assert not [call for call in installer.calls() if call.startswith("apt-get")]

    def test_only_the_missing_are_installed_and_lists_not_fetched(self, installer: Installer) -> None:
        installer.install("--with-packages")
        apt = [call for call in installer.calls() if call.startswith("apt-get")]
        assert len(apt) == 1
        assert apt[0].endswith("install -y --no-install-recommends nftables")

    @pytest.fixture
    def nothing_of_the_lane_is_there(self, installer: Installer) -> None:
        installer.add_tool("dpkg-query", 'case "$*" in *clang*|*llvm*|*bpf*) exit 1 ;; *) printf installed ;; esac')

    @pytest.mark.usefixtures("nothing_of_the_lane_is_there")
    def test_the_compiler_is_installed_to_build_a_release_and_not_later(self, installer: Installer) -> None:
        installer.install("--with-packages")
        wanted = [call.partition("recommends ")[2] for call in installer.calls() if call.startswith("apt-get")]
        assert wanted == ["libbpf1", "clang llvm libbpf-dev"]
        installer.install("--with-packages")
        wanted = [call.partition("recommends ")[2] for call in installer.calls() if call.startswith("apt-get")]
        assert wanted == ["libbpf1"]

    @pytest.mark.usefixtures("nothing_of_the_lane_is_there")
    def test_without_the_lane_none_of_its_packages_is_installed(self, installer: Installer) -> None:
        installer.install("--with-packages", "--without-lane")
        assert not [call for call in installer.calls() if call.startswith("apt-get")]

    def test_lists_are_fetched_when_the_installation_fails_without(self, installer: Installer) -> None:
        lists = installer.tools / "lists"
        installer.add_tool(
            "apt-get",
            f'printf "apt-get %s\\n" "$*" >>"$CALLS"\ncase "$*" in *update) touch {lists} ;; *) [ -e {lists} ] ;; esac',
        )
        installer.install("--with-packages")
        apt = [call.split()[4] for call in installer.calls() if call.startswith("apt-get")]
        assert apt == ["install", "update", "install"]

    def test_a_failure_shows_what_apt_said(self, installer: Installer) -> None:
        installer.add_tool("apt-get", 'case "$*" in *update) ;; *) echo "E: no such thing" >&2; exit 100 ;; esac')
        result = installer.run("--with-packages")
        assert result.returncode == 1
        assert "E: no such thing" in result.stderr
        assert tree_of(installer.root) == {}


@pytest.mark.slow
def test_the_real_release_runs(installer: Installer) -> None:
    """The locked dependencies install, and the installed command accepts the configuration shipped with it."""
    for name in ("pyproject.toml", "requirements.lock", "requirements-build.lock", "README.md", "LICENSE", "etc/lvs.toml"):
        shutil.copy(PROJECT / name, installer.source / name)
    for name in ("appliance", "bpf", "tools"):
        shutil.copytree(PROJECT / name, installer.source / name, dirs_exist_ok=True)
    has_clang = shutil.which("clang") is not None
    installer.install(*([] if has_clang else ["--without-lane"]), PYTHON=sys.executable)

    where = "import appliance; print(appliance.__file__)"
    imported = subprocess.check_output([installer.release / "bin/python", "-I", "-c", where], text=True)
    assert Path(imported.strip()).is_relative_to(installer.release)
    assert Path(imported.strip()).with_name("lane.bpf.o").exists() == has_clang
    subprocess.run([installer.release / "bin/python", "-m", "pip", "check"], check=True, capture_output=True)
    command, config = installer.root / "usr/local/bin/appliance", installer.root / "etc/appliance/lvs.toml"
    checked = subprocess.run([command, "check", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "_appliance_complete" in (installer.root / "usr/local/share/bash-completion/completions/appliance").read_text()
    assert (installer.root / "usr/local/share/zsh/site-functions/_appliance").read_text().startswith("#compdef appliance\n")
