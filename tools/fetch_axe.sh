#!/bin/bash
# Get what looks for barriers on pages, axe-core, with its licence, into build/axe-core: for the tests alone.
exec "$(dirname "$0")/fetch_npm.sh" axe-core axe-core 4.11.0 \
  8a561a9c453cbf1c417b1a4977c716338125490ab841cb422ca8a1d1349f8c87c24137b21ffeb356b98825f2cfaca4ca2516e21be71f9d96d02230252661758d \
  "nothing looks for barriers on the page /ui/" axe.min.js LICENSE
