#!/usr/bin/env bash
# namespaces.sh LAUNCHER RATE DELAY PROGRAM [ARGUMENTS…]: two processes in two network namespaces, as if on two machines. Their
# only link carries RATE (100mbit) and takes DELAY seconds in each direction (0, or 0.003). Needs MPICH over UCX, root, tc,
# and for a delay python3; else it says why it skips.
set -uo pipefail
launcher=$1 rate=$2 delay=$3
shift 3
skip() {
  echo "skipped: $*"
  exit 0
}
[ "$(id -u)" = 0 ] || skip "network namespaces need root"
command -v ip >/dev/null && command -v tc >/dev/null || skip "ip and tc are not installed: on Debian, apt-get install -y iproute2"
mpichversion 2>/dev/null | grep -q ucx || skip "this MPICH does not use UCX, which is told here which network to take"
a=qllk-a-$$ b=qllk-b-$$ link=
trap 'ip netns del $a 2>/dev/null; ip netns del $b 2>/dev/null; [ -z "$link" ] || kill "$link"' EXIT
{ ip netns add $a && ip netns add $b; } 2>/dev/null || skip "network namespaces cannot be made here"
if [ "$delay" = 0 ]; then
  ip link add qllk$$ type veth peer name qllkp$$ || skip "veth pairs cannot be made here"
else
  command -v python3 >/dev/null && [ -w /dev/net/tun ] || skip "a link with a delay needs python3 and /dev/net/tun"
  python3 "$(dirname "$0")/delaying_link.py" qllk$$ qllkp$$ "$delay" &
  link=$!
  for _ in $(seq 100); do
    ip link show qllkp$$ >/dev/null 2>&1 && break
    kill -0 "$link" 2>/dev/null || skip "network interfaces cannot be made here"
    sleep 0.05
  done
fi
ip link set qllk$$ netns $a name eth0
ip link set qllkp$$ netns $b name eth0
ip -n $a addr add 10.77.0.1/24 dev eth0
ip -n $b addr add 10.77.0.2/24 dev eth0
for n in $a $b; do
  ip -n $n link set lo up
  ip -n $n link set eth0 up
  tc -n $n qdisc add dev eth0 root tbf rate "$rate" burst 1mbit latency 100ms || skip "this kernel has no token bucket (sch_tbf)"
done

export MPIR_CVAR_NOLOCAL=1 UCX_TLS=tcp,self UCX_NET_DEVICES=eth0 UCX_WARN_UNUSED_ENV_VARS=n
"$launcher" -n 1 ip netns exec $a "$@" : -n 1 ip netns exec $b "$@" || exit 1
sent=$(ip -n $a -s link show eth0 | awk '/TX:/ { getline; print $1 }')
echo "$sent bytes went over the link of $rate" >&2
[ "$sent" -gt 4000000 ] || {
  echo "FAILED: the processes did not use the link" >&2
  exit 1
}
