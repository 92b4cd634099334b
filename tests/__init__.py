"""Tests; a package so that this folder is found before one of the same name among installed packages."""
