#!/bin/bash
# Get the program of the page /docs, swagger-ui, with its licence, into build/swagger-ui.
exec "$(dirname "$0")/fetch_npm.sh" swagger-ui swagger-ui-dist 5.35.0 \
  534eaba4cb56f55dd73c638179a993512af4674f63317e0826e00da44fc465b021c341bc0a0c2bcd4e18997927fe1d3008336c5dd19aad334d1c2dec53cc9551 \
  "the page /docs only lists the routes" swagger-ui-bundle.js swagger-ui.css LICENSE NOTICE
