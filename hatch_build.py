"""Build hook: a wheel carries notebooks/ and data/ inside the package; an editable install has them in the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("notebooks", "data")


class BundleHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        for folder in FOLDERS:
            files = [
                path
                for path in sorted((root / folder).rglob("*"))
                # Editors and Jupyter leave hidden folders behind (.ipynb_checkpoints).
                if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
            ]
            if not files:
                raise FileNotFoundError(f"{root / folder} is empty: a wheel without it would not work")
            for path in files:
                relative = path.relative_to(root).as_posix()
                build_data["force_include"][str(path)] = f"anchorkit/_bundled/{relative}"
