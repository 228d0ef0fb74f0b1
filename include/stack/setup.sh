#!/usr/bin/env bash
# Makes .venv with everything in requirements.txt and the project itself. Costs nothing when that is already so.
#   MILLRACE_PYTHON   the Python to use instead of the first fitting one on PATH
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD venv=$PWD/.venv

die() { printf 'setup: %s\n' "$@" >&2; exit 1; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
  if [ -n "${MILLRACE_PYTHON:-}" ]; then
    fits "$MILLRACE_PYTHON" || die "MILLRACE_PYTHON=$MILLRACE_PYTHON is not a Python 3.10, 3.11, 3.12 or 3.13"
    command -v "$MILLRACE_PYTHON"
    return
  fi
  # the one that .venv was made with, so that naming another once is enough; itself, as .venv may have to go
  if fits "$venv/bin/python"; then
    "$venv/bin/python" -c 'import os, sys; print(os.path.realpath(sys.executable))'
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
    if fits "$candidate"; then command -v "$candidate"; return; fi
  done
  die "no Python 3.10, 3.11, 3.12 or 3.13 on PATH (python3 is $(python3 --version 2>&1 || true))" \
    "install one, or name it: make setup MILLRACE_PYTHON=/path/to/python3.12"
}

# programs in .venv/bin name their Python by its path: where .venv was moved or copied, none of them starts
at_its_place() { [ "$(. "$venv/bin/activate" >/dev/null 2>&1 && printf '%s' "$VIRTUAL_ENV")" = "$venv" ]; }

# uv does not read pip's configuration: where pip would look for packages, uv shall look too
like_pip() {
  local line name value
  while IFS= read -r line; do
    name=${line%%=*} value=${line#*=} value=${value#\'} value=${value%\'}
    case ${name##*.} in
      index-url) : "${UV_DEFAULT_INDEX:=$value}" ;;
      extra-index-url) : "${UV_INDEX:=$value}" ;;
      find-links) : "${UV_FIND_LINKS:=${value// /,}}" ;;
      cert) : "${SSL_CERT_FILE:=$value}" ;;
    esac
  done < <("$venv/bin/python" -m pip config list 2>/dev/null)
  for name in UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS SSL_CERT_FILE; do
    [ -z "${!name:-}" ] || export "${name?}"
  done
  export UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match} UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180}
}

python=$(find_python)
wanted=$({ "$python" -c 'import sys; print(sys.version, sys.base_prefix)'; echo "$root"; \
  cat requirements.txt pyproject.toml include/stack/setup.sh; } | cksum)
if [ "$(cat "$venv/.ready" 2>/dev/null || true)" = "$wanted" ]; then exit 0; fi

mkdir -p "$venv"
# a second `make` in another shell waits for the first
exec 9>"$venv/.setup-lock"
if command -v flock >/dev/null; then flock 9; fi
if [ "$(cat "$venv/.ready" 2>/dev/null || true)" = "$wanted" ]; then exit 0; fi

echo "setting up .venv with $("$python" --version) (once; one to a few minutes when nothing is cached)"
rm -f "$venv/.ready"
if ! fits "$venv/bin/python" || ! at_its_place ||
  [ "$("$venv/bin/python" -c 'import sys; print(sys.version, sys.base_prefix)')" != \
    "$("$python" -c 'import sys; print(sys.version, sys.base_prefix)')" ]; then
  rm -rf "$venv/bin" "$venv/lib" "$venv/lib64" "$venv/include" "$venv/pyvenv.cfg"
  "$python" -m venv "$venv" || die "$python cannot make a virtual environment" \
    "on Debian and Ubuntu: apt-get install python3-venv"
fi

uv_version=$(sed -n 's/^\(uv==[^ ;]*\).*/\1/p' requirements.txt)
"$venv/bin/python" -m pip install -qq --disable-pip-version-check "$uv_version" ||
  die "pip could not install $uv_version; its message is above"
like_pip
uv() { VIRTUAL_ENV=$venv "$venv/bin/uv" "$@"; }
# compiled once here: no process of ours has to do it again, or cannot where writing bytecode is switched off
uv pip install --quiet --compile-bytecode -r requirements.txt ||
  die "the packages of requirements.txt could not be installed; uv's message is above"
uv pip install --quiet --no-deps --no-build-isolation --editable . ||
  die "the project itself could not be installed; uv's message is above"
printf '%s' "$wanted" >"$venv/.ready"
echo "ready: .venv/bin/millrace --help"
