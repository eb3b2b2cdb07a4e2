#!/bin/sh
# Times every program of this folder and writes times.csv. TOOL holds the command; FILE in it stands for the program.
# On Android: adb push this folder and the tool to /data/local/tmp, then run it there in adb shell.
cd "$(dirname "$0")" || exit 1
TOOL=${TOOL:-"@COMMAND@"}
ROUNDS=${ROUNDS:-5}
[ -f times.csv ] || echo "program,milliseconds" > times.csv
round=0
while [ "$round" -lt "$ROUNDS" ]; do
  for file in *@SUFFIX@; do
    command=$(echo "$TOOL" | sed "s|FILE|$file|")
    time=$($command 2>&1 | awk '@PATTERN@' | tail -n 1)
    if [ -z "$time" ]; then echo "no time of $file: try $command" >&2; exit 1; fi
    echo "${file%@SUFFIX@},$time" >> times.csv
  done
  round=$((round + 1))
done
