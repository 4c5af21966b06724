"""Paths: whatever a caller writes, nothing outside of the workspace is opened, also while the tree changes."""

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.skills import workspace as files
from agents.skills.base import LimitExceeded, SkillError, SkillRefused
from agents.skills.workspace import (
    is_within,
    list_folder,
    lock_folder_of,
    open_beneath,
    open_folder,
    open_root,
    read_file,
    replace_file,
    require_within,
    resolve,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a workspace with a secret beside it and links of every kind in it."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "work-other").mkdir()
    root = tmp_path / "work"
    (root / "docs" / "deep").mkdir(parents=True)
    (root / "docs" / "a.txt").write_text("inside")
    (root / "link-in").symlink_to("docs/a.txt")
    (root / "link-out").symlink_to("../secret")
    (root / "link-absolute").symlink_to(tmp_path / "secret")
    (root / "folder-out").symlink_to("..")
    (root / "folder-in").symlink_to("docs")
    (root / "loop").symlink_to("loop")
    (root / "twin").symlink_to("../work-other")
    return root


@pytest.fixture(params=["openat2", "walk"])
def opener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the kernel's openat2 and with what stands in for it on kernels that have none."""
    if request.param == "walk":
        monkeypatch.setattr(files, "_openat2", lambda folder, path, flags: None)
    return str(request.param)


class TestResolve:
    @pytest.mark.parametrize(
        ("path", "real"),
        [
            ("docs/a.txt", "docs/a.txt"),
            ("./docs//a.txt", "docs/a.txt"),
            ("docs/", "docs"),
            (".", "."),
            ("link-in", "docs/a.txt"),
            ("folder-in/deep", "docs/deep"),
            ("new/file.txt", "new/file.txt"),
            ("docs/100%.txt", "docs/100%.txt"),
            ("docs/naïve name.txt", "docs/naïve name.txt"),
            ("docs/...", "docs/..."),
        ],
    )
    def test_it_gives_the_real_path(self, root: Path, path: str, real: str) -> None:
        assert resolve(root, path) == real

    @pytest.mark.parametrize(
        "path",
        [
            "", "..", "../secret", "docs/../../secret", "docs/../a.txt", "docs/..", "./..", "a/b/../../../secret",
            "/etc/passwd", "//etc/passwd", "~/x", "~root/x", "link-out", "link-absolute", "folder-out/secret",
            "twin/x", "folder-in/../../secret", "%2e%2e/secret", "%2E%2E%2Fsecret", "docs%2fa.txt", "..%5csecret",
            "..\\secret", "docs\\a.txt", "docs/a.txt\0", "docs/a.txt\0.csv", "docs/a\n.txt", "docs/\u202ea.txt",
            "docs/\u200b/..", "\ud800", "x" * 1_025, "x" * 256, "docs/\x7f",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("reason", ["read_path", "write_path"])
    def test_it_refuses_what_leads_out(self, root: Path, path: str, reason: str) -> None:
        with pytest.raises(SkillRefused) as refused:
            resolve(root, path, reason=reason)
        assert refused.value.code == reason
        assert not refused.value.retryable

    def test_a_root_behind_a_link_is_still_one_root(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "alias").symlink_to(root)
        assert resolve(tmp_path / "alias", "docs/a.txt") == "docs/a.txt"
        with pytest.raises(SkillRefused):
            resolve(tmp_path / "alias", "link-out")

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        parts=st.lists(
            st.sampled_from(["..", ".", "", "docs", "folder-out", "folder-in", "link-out", "loop", "~", "%2e%2e", "x"]),
            max_size=6,
        )
    )
    def test_what_it_gives_lies_inside(self, root: Path, parts: list[str]) -> None:
        path = "/".join(parts)
        try:
            real = resolve(root, path)
        except SkillRefused:
            return
        outcome = os.path.realpath(root / real)
        assert outcome == str(root) or outcome.startswith(f"{root}/")
        assert ".." not in real.split("/")


class TestScopes:
    @pytest.mark.parametrize(
        ("path", "scopes", "inside"),
        [
            ("docs/a.txt", ("docs",), True),
            ("docs", ("docs",), True),
            ("docs/a.txt", ("docs/",), True),
            ("docs-secret/a.txt", ("docs",), False),
            ("docsx", ("docs",), False),
            ("a/docs/b", ("docs",), False),
            ("anything", ("",), True),
            (".", ("",), True),
            (".", ("docs",), False),
            ("docs/a.txt", (), False),
            ("docs/a.txt", ("other", "docs"), True),
        ],
    )
    def test_a_folder_is_a_boundary_and_a_prefix_is_none(
        self, path: str, scopes: tuple[str, ...], *, inside: bool
    ) -> None:
        assert is_within(path, scopes) is inside
        if not inside:
            with pytest.raises(SkillRefused) as refused:
                require_within(path, scopes, reason="write_path")
            assert refused.value.code == "write_path"


@pytest.mark.usefixtures("opener")
class TestOpening:
    def test_it_reads_files(self, root: Path) -> None:
        assert read_file(root, "docs/a.txt", max_bytes=6) == b"inside"
        with pytest.raises(LimitExceeded):
            read_file(root, "docs/a.txt", max_bytes=5)

    @pytest.mark.parametrize(
        "path", ["link-in", "link-out", "link-absolute", "folder-in/a.txt", "folder-out/secret", "loop"]
    )
    def test_it_follows_no_link_at_all(self, root: Path, path: str) -> None:
        """`resolve` has done away with links that are fine; one that is there now was put there since."""
        with pytest.raises(SkillRefused):
            read_file(root, path, max_bytes=100)

    @pytest.mark.parametrize("path", ["../secret", "docs/../../secret", "/etc/passwd"])
    def test_it_never_climbs(self, root: Path, path: str) -> None:
        with open_root(root) as folder, pytest.raises(OSError, match=r"link|cross-device") as failed:
            open_beneath(folder, path, os.O_RDONLY)
        assert failed.value.errno == errno.EXDEV

    @pytest.mark.parametrize(
        ("path", "code"), [("none", "file_not_found"), ("docs/a.txt/x", "file_not_found"), ("docs", "not_a_file")]
    )
    def test_it_says_what_is_wrong(self, root: Path, path: str, code: str) -> None:
        with pytest.raises(SkillError) as failed:
            read_file(root, path, max_bytes=100)
        assert failed.value.code == code

    def test_it_does_not_wait_for_a_pipe(self, root: Path) -> None:
        os.mkfifo(root / "pipe")
        with pytest.raises(SkillError) as failed:
            read_file(root, "pipe", max_bytes=100)
        assert failed.value.code == "not_a_file"

    def test_it_lists_files_and_folders_only(self, root: Path) -> None:
        os.mkfifo(root / "docs" / "pipe")
        assert [(entry.name, entry.is_folder) for entry in list_folder(root)] == [("docs", True)]
        assert [(entry.path, entry.size_bytes) for entry in list_folder(root, "docs")] == [
            ("docs/a.txt", 6),
            ("docs/deep", 0),
        ]
        with pytest.raises(SkillRefused):
            list_folder(root, "folder-in")
        with pytest.raises(SkillError) as failed:
            list_folder(root, "docs/a.txt")
        assert failed.value.code == "folder_not_found"

    def test_it_leaves_no_descriptor_open(self, root: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for path in ("docs/a.txt", "link-out", "none", "docs", "folder-out/secret", "docs/a.txt/x"):
            try:
                read_file(root, path, max_bytes=100)
            except SkillError:
                continue
        with open_folder(root, "docs/deep"):
            pass
        assert len(os.listdir("/proc/self/fd")) == before

    def test_a_folder_that_turns_into_a_link_lets_nothing_out(self, root: Path, tmp_path: Path) -> None:
        """One thread swaps a folder for a link to the outside while another reads through it."""
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "a.txt").write_text("outside")
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                os.rename(root / "docs", root / "hidden")
                os.symlink(tmp_path / "outside", root / "docs")
                os.unlink(root / "docs")
                os.rename(root / "hidden", root / "docs")

        thread = threading.Thread(target=swap)
        thread.start()
        seen: set[bytes | str] = set()
        try:
            for turn in range(200_000):  # on a loaded machine the threads take long turns
                if turn >= 1_500 and len(seen) > 1:
                    break
                try:
                    seen.add(read_file(root, "docs/a.txt", max_bytes=100))
                except SkillError as error:
                    seen.add(error.code)
        finally:
            stop.set()
            thread.join()
        assert b"outside" not in seen
        assert seen <= {b"inside", "file_not_found", "read_path"}
        assert len(seen) > 1, "the swap was never seen, so this proved nothing"


class TestWriting:
    def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(self, root: Path, tmp_path: Path) -> None:
        with lock_folder_of(root, "link-out") as (folder, name):
            replace_file(folder, name, b"new")
        assert (tmp_path / "secret").read_text() == "secret"
        assert not (root / "link-out").is_symlink()
        assert (root / "link-out").read_bytes() == b"new"

    def test_a_link_in_the_place_of_the_folder_is_refused(self, root: Path) -> None:
        with pytest.raises(SkillRefused), lock_folder_of(root, "folder-out/secret"):
            pytest.fail("the folder was opened")

    def test_a_new_file_is_its_owners_alone(self, root: Path) -> None:
        with lock_folder_of(root, "docs/new") as (folder, name):
            replace_file(folder, name, b"new")
        assert (root / "docs" / "new").stat().st_mode & 0o777 == 0o600
