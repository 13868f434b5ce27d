# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `chromium`: the browser that the page of the daemon is tested in, and a font for it.

chromium_system() {
  want chromium "Chromium or Chrome (chromium)" chromium_found
  want fonts-dejavu-core "a font for Chromium (dejavu-sans-fonts, fonts-dejavu-core)" chromium_font
}

chromium_found() { has chromium || has chromium-browser || has google-chrome; }
chromium_font() {
  local font
  for font in /usr/share/fonts/*/*/*.ttf /usr/share/fonts/*/*.ttf; do [ -e "$font" ] && return 0; done
  return 1
}

chromium_ready() { true; }
chromium_install() { true; }
