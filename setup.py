# SPDX-License-Identifier: Apache-2.0
"""What setup.cfg cannot say: the bundles are a package of data, and the README leads nowhere from a package index."""

from __future__ import annotations

import configparser
import runpy
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
BUNDLES = "wss_monai.bundles_data"


class BuildPackages(build_py):
    """Leave what makes the bundles, `bundles/make.py`, out of the package of the bundles."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Give the modules of a package; the bundles are data alone."""
        return [] if package == BUNDLES else super().find_package_modules(package, package_dir)


def long_description() -> str:
    """Give the README without relative links: to the repository where setup.cfg names it (`url`), else as words."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    url = metadata["metadata"].get("url", "").rstrip("/")
    links = runpy.run_path(str(ROOT / "wss_monai" / "io" / "page_links.py"))
    places = (f"{url}/blob/main", f"{url}/raw/main") if url else ("", "")
    return links["absolute_links"]((ROOT / "README.md").read_text(encoding="utf-8"), *places)


if __name__ == "__main__":
    setup(
        packages=[*find_packages(include=["wss_monai*"]), BUNDLES],
        package_dir={BUNDLES: "bundles"},
        cmdclass={"build_py": BuildPackages},
        long_description=long_description(),
        long_description_content_type="text/markdown",
    )
