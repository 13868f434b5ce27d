# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `python`: componentize-py in an environment of its own, so that the machine's Python stays as it is.

componentize_py=0.25.1

python_system() {
  python_ready && return 0
  python_venv_system
}

# Shared with the part `tools`, which installs from the same registry.
python_venv_system() {
  want python3 "Python 3.10 or newer (python3)" has python3
  want python3-venv "Python's modules venv and ensurepip (python3, python3-venv)" python3 -c 'import venv, ensurepip'
}

# has_wheel ENVIRONMENT NAME VERSION: looks for the installed package's metadata, which starts no Python. The
# environment's Python is a link, which points nowhere once the machine's has gone.
has_wheel() {
  local found
  [ -x "$1/bin/python" ] || return 1
  for found in "$1"/lib/python*/site-packages/"$2-$3".dist-info; do
    [ -e "$found" ] && return 0
  done
  return 1
}

# wheels ENVIRONMENT REQUIREMENT...: binary packages only, since building one would need more than Python.
wheels() {
  local environment=$1
  shift
  # An environment whose Python has gone from the machine is made anew.
  if ! "$environment/bin/python" -c ''; then
    rm -rf "$environment"
    python3 -m venv "$environment"
  fi
  # A machine may tell pip to install for the user alone, which an environment refuses.
  PIP_USER=0 "$environment/bin/python" -m pip install -q --disable-pip-version-check --only-binary :all: "$@"
}

python_ready() { has_wheel "$flow_python" componentize_py "$componentize_py"; }

python_install() {
  timed "python: componentize-py $componentize_py" wheels "$flow_python" "componentize-py==$componentize_py" ||
    die "pip could not install componentize-py $componentize_py, which builds the Python operator"
}
