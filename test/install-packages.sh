#!/usr/bin/env bash
# Installs the Debian packages that the tests use: the tools they compare with, and the servers they talk to.
set -euo pipefail

packages=(
  build-essential python3   # builds better-sqlite3 and cap where no prebuilt binary is to be had
  libpcap-dev               # for cap
  iproute2 tcpdump tshark   # network namespaces, and two independent readers of packets
  tcpreplay iperf3          # traffic for the live sources
  netcat-openbsd            # a program that is no raylet
  influxdb                  # a real InfluxDB 1.6.7
  docker-compose            # checks docker-compose.yml
  systemd systemd-container # systemd-analyze checks the units, systemd-nspawn boots machines
  debootstrap               # a bare Debian for them
  groff-base                # reads the manual pages
  openssl                   # certificates for the TLS tests
  prometheus prometheus-alertmanager rsyslog rsyslog-gnutls  # real servers for the receivers, and promtool
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

export DEBIAN_FRONTEND=noninteractive
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo --preserve-env=DEBIAN_FRONTEND)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
