"""Tests of proxyaudit."""
