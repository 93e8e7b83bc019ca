mount -t tmpfs -o mode=755 tmpfs /run
mount -t overlay overlay -o "$1" "$2"
exec timeout -s KILL 40 systemd-nspawn --quiet --boot --directory "$2" --register=no --keep-unit --console=pipe --private-network
