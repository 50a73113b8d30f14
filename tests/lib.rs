//! Integration tests live in `integration/`; the oracle they ask is `oracle/check.py`.
