"""schemathesis reads our own OpenAPI v3 document and asks everything it can think of: never a 5xx.

One group, in the same order every time. What tests/fuzz draws by chance from all documents is drawn there; here it is a
program that knows nothing of Kubernetes and takes the document at its word.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients import installed
from tests.support import api_server

pytestmark = pytest.mark.slow

GROUP = "apis/policy/v1"
LIMIT_S = 600


def test_no_request_drawn_from_our_own_document_is_answered_with_a_server_error(tmp_path: Path) -> None:
    try:
        program = installed.schemathesis()
    except installed.Missing as why:
        pytest.skip(str(why))
    with api_server(tmp_path / "server", "--token", "fuzz") as server:  # its own: it deletes whatever it finds
        authority, _, _ = server.credentials()
        document = json.loads(server.get(f"/openapi/v3/{GROUP}")[1])
        for path in document["paths"].values():  # a watch has no end to wait for
            for part in path.values():
                holder = part if isinstance(part, dict) else path
                if isinstance(holder.get("parameters"), list):
                    holder["parameters"] = [one for one in holder["parameters"] if one.get("name") != "watch"]
            path["parameters"] = [one for one in path.get("parameters", ()) if one.get("name") != "watch"]
        (tmp_path / "document.json").write_text(json.dumps(document))
        done = subprocess.run(
            [str(program), "run", str(tmp_path / "document.json"), "--url", server.url, "--tls-verify", str(authority),
             "--header", "Authorization: Bearer fuzz", "--checks", "not_a_server_error", "--phases", "coverage",
             "--generation-deterministic", "--no-shrink", "--continue-on-failure", "--request-timeout", "60",
             "--exclude-path-regex", "/watch/", "--warnings", "off", "--no-color"],
            cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
        passed = re.search(r"(\d+) passed", done.stdout.partition("Test cases:")[2])
        assert passed is not None, done.stdout[-2000:]
        assert int(passed[1]) > 300
        assert "Traceback" not in server.log.read_text()
