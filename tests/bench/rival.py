"""A LiteLLM proxy with OpenTelemetry, in the environment of those that are compared with.

Its configuration is the plainest that does what is compared: one model, a key that is checked, and the `otel`
callback, whose default exporter (console, in batches) writes to /dev/null. Fallbacks, retries and a database are off.
"""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from tests.bench.rivals import FOLDER, RivalMissing, install
from tests.running import free_port

# The newest that is asked for, else the newest before it whose parts can be had.
WANTED = ("litellm[proxy]==1.110.2", "litellm[proxy]<=1.110.2")
TELEMETRY = ("opentelemetry-api", "opentelemetry-sdk")
_PROBE = "import importlib.metadata as m, opentelemetry.sdk; print(m.version('litellm'))"
START_SECONDS = 120
_CONFIG = """
model_list:
  - model_name: {model}
    litellm_params: {{model: "openai/{model}", api_base: "{base_url}", api_key: none}}
litellm_settings: {{callbacks: ["otel"], num_retries: 0}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A proxy that runs."""

    base_url: str
    key: str
    version: str


@contextmanager
def run_rival(model: str, provider_url: str) -> Iterator[Rival]:
    """Run the proxy before the provider at `provider_url`.

    Raises: RivalMissing.
    """
    version = install(WANTED, TELEMETRY, probe=_PROBE)
    port, key = free_port(), f"sk-{secrets.token_hex(32)}"
    with TemporaryDirectory(prefix="bench-") as folder:
        config = Path(folder, "config.yaml")
        config.write_text(_CONFIG.format(model=model, base_url=provider_url))
        process = _start(config, port, key)
        try:
            _wait_until_ready(port, process)
            yield Rival(base_url=f"http://127.0.0.1:{port}/v1", key=key, version=version)
        finally:
            process.terminate()
            process.wait(20)


def _start(config: Path, port: int, key: str) -> "subprocess.Popen[bytes]":
    command = [
        str(FOLDER / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port),
        "--num_workers", "1", "--telemetry", "False",
    ]  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(config.parent), "LITELLM_MASTER_KEY": key, "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True", "OTEL_EXPORTER": "console",
    }  # fmt: skip
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, cwd=config.parent, stdout=quiet, stderr=quiet)


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up_at:
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise RivalMissing("it does not start")
