#!/usr/bin/env bash
# Holds the template against a Bicep compiler: builds it, lints it, compares its
# format and what each set of parameters in snapshots/ comes to. The compiler's
# exit status is not enough: mistakes of type are warnings.
#
#	BICEP=bicep infra/check.sh
set -euo pipefail
cd "$(dirname "$0")"
bicep=${BICEP:-bicep}
failed=0
complain() {
  echo "$1"
  failed=1
}

said=$("$bicep" build main.bicep --stdout 2>&1 >/dev/null) || failed=1
[ -z "$said" ] || complain "bicep build main.bicep:
$said"
said=$("$bicep" lint main.bicep 2>&1) || failed=1
[ -z "$said" ] || complain "bicep lint main.bicep:
$said"

for file in main.bicep types.bicep modules/*.bicep snapshots/*.bicepparam; do
  formatted=$("$bicep" format "$file" --stdout)
  difference=$(diff -u "$file" <(printf '%s\n' "$formatted")) ||
    complain "bicep format $file:
$difference"
done

# Written again and compared: "--mode validate" fails on resources of Microsoft
# Graph, which have no id.
for set in snapshots/*.bicepparam; do
  "$bicep" snapshot "$set" --mode overwrite \
    --subscription-id 11111111-1111-1111-1111-111111111111 \
    --tenant-id 22222222-2222-2222-2222-222222222222 \
    --location westeurope
done
changed=$(git status --porcelain -- snapshots)
[ -z "$changed" ] || complain "These snapshots differ from those that are committed. Read the difference, then commit it:
$changed"
exit "$failed"
