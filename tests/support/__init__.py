"""The words the tests are written in. They are tested themselves, in tests/unit/test_support.py."""
