#!/usr/bin/env bash
# namespaces.sh PROGRAM LAUNCHER: two processes in two network namespaces, whose only link is a veth pair of 100 Mbit/s: as two
# machines. Needs MPICH over UCX, root, and tc; else it says why it skips.
set -uo pipefail
program=$1 launcher=$2 rate=100mbit
skip() {
  echo "skipped: $*"
  exit 0
}
[ "$(id -u)" = 0 ] || skip "network namespaces need root"
command -v ip >/dev/null && command -v tc >/dev/null || skip "ip and tc are not installed: on Debian, apt-get install -y iproute2"
mpichversion 2>/dev/null | grep -q ucx || skip "this MPICH does not use UCX, which is told here which network to take"
a=qllk-a-$$ b=qllk-b-$$
trap 'ip netns del $a 2>/dev/null; ip netns del $b 2>/dev/null' EXIT
{ ip netns add $a && ip netns add $b; } 2>/dev/null || skip "network namespaces cannot be made here"
ip link add qllk$$ type veth peer name qllkp$$ || skip "veth pairs cannot be made here"
ip link set qllk$$ netns $a name eth0
ip link set qllkp$$ netns $b name eth0
ip -n $a addr add 10.77.0.1/24 dev eth0
ip -n $b addr add 10.77.0.2/24 dev eth0
for n in $a $b; do
  ip -n $n link set lo up
  ip -n $n link set eth0 up
  tc -n $n qdisc add dev eth0 root tbf rate $rate burst 64kbit latency 100ms || skip "this kernel has no token bucket (sch_tbf)"
done

export MPIR_CVAR_NOLOCAL=1 UCX_TLS=tcp,self UCX_NET_DEVICES=eth0 UCX_WARN_UNUSED_ENV_VARS=n
"$launcher" -n 1 ip netns exec $a "$program" : -n 1 ip netns exec $b "$program" || exit 1
sent=$(ip -n $a -s link show eth0 | awk '/TX:/ { getline; print $1 }')
echo "$sent bytes went over the link of $rate"
[ "$sent" -gt 4000000 ] || {
  echo "FAILED: the processes did not use the link"
  exit 1
}
