#!/bin/sh
# What the application knows: its name, its message, and what is in its data directory.
printf 'Content-Type: text/plain\r\n\r\n'
printf 'host=%s message=%s\n' "$(hostname)" "${APP_MESSAGE:-}"
cat /data/* 2>/dev/null
exit 0
