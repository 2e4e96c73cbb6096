"""What breaks from outside: kills, signals, damage, full disks, two at once, and wild input.

Each test counts what it tried. Nothing may be lost, nothing may end in a traceback, and nothing
may be wrong without a word. `make test-long` runs the long forms.
"""
