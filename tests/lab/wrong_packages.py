"""A package list with an old PHP."""

from __future__ import annotations

INDEX = """Package: php-fpm
Version: 2:8.1+92ubuntu1
Architecture: all
Maintainer: the lab
Filename: ./php-fpm.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
Description: claims to be an old PHP
"""
