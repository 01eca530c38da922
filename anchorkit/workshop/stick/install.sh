#!/bin/sh
# Linux and macOS: sh install.sh [FOLDER]
for python in python3 python3.14 python3.13 python3.12 python3.11; do
  if command -v "$python" >/dev/null 2>&1; then
    exec "$python" "$(dirname "$0")/install.py" "$@"
  fi
done
echo "This computer has no Python 3. Install one of the versions in README.txt, then start this again." >&2
exit 1
