"""Builds the text corpus of scripts/fetch-data out of Debian packages."""
