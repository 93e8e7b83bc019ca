"""The SD card: builds it, and (in `machine`) boots what was built. Never imported by a program."""
