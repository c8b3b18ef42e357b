#!/bin/sh
# Fills a folder with the root of every test image: one static busybox, and one entry script per image.
#
# Takes the folder and the path of a statically linked busybox.
# Gives a tree of about 2 MB. The images differ in entry point, environment and health check only
# (tests/fleet sets them at import), so that all of them share one layer.
#
# Never needs a network: nothing is downloaded.
set -eu
root=$1
busybox=$2

mkdir -p "$root/bin" "$root/entry" "$root/etc" "$root/tmp" "$root/data" "$root/www/1/cgi-bin" "$root/www/2/cgi-bin"
chmod 1777 "$root/tmp" "$root/data"
cp "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"

# web: answers HTTP on 8080. "/" gives "web VERSION", "/health" gives "ok", "/cgi-bin/env" its variables,
# and "/cgi-bin/ask?NAME:PORT" what a TCP server there says ("no answer" and status 502 if nothing).
for version in 1 2; do
    echo "web $version" >"$root/www/$version/index.html"
    echo ok >"$root/www/$version/health"
    cat >"$root/www/$version/cgi-bin/env" <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
env | sort
END
    cat >"$root/www/$version/cgi-bin/ask" <<'END'
#!/bin/sh
answer=$(nc -w 2 "${QUERY_STRING%%:*}" "${QUERY_STRING##*:}" </dev/null 2>&1) || answer=
[ -n "$answer" ] || { printf 'Status: 502\r\nContent-Type: text/plain\r\n\r\nno answer\n'; exit 0; }
printf 'Content-Type: text/plain\r\n\r\n%s\n' "$answer"
END
done

# A shell as process 1 ignores SIGTERM unless it traps it, and `docker stop` would then take its whole grace.
cat >"$root/entry/web" <<'END'
#!/bin/sh
trap 'kill $server; echo "web $WEB_VERSION stops"; exit 0' TERM INT
echo "web $WEB_VERSION listens on 8080"
httpd -f -p 8080 -h "/www/$WEB_VERSION" &
server=$!
wait $server
END

# db: a TCP server on 5432 that says who it is and how often it was started on this /data.
cat >"$root/entry/db" <<'END'
#!/bin/sh
trap 'kill $server; echo "db stops"; exit 0' TERM INT
echo start >>/data/starts 2>/dev/null
echo "db 1 listens on 5432"
nc -ll -p 5432 -e /entry/db-reply &
server=$!
wait $server
END
cat >"$root/entry/db-reply" <<'END'
#!/bin/sh
echo "db 1 on $(hostname), starts $(wc -l </data/starts 2>/dev/null || echo 0)"
END

# What the health checks named "postgres" and "redis" call: healthy when the server on 5432 answers.
cat >"$root/bin/pg_isready" <<'END'
#!/bin/sh
nc -w 1 127.0.0.1 5432 </dev/null >/dev/null 2>&1 && echo "accepting connections" && exit 0
echo "no response"
exit 2
END
cat >"$root/bin/redis-cli" <<'END'
#!/bin/sh
nc -w 1 127.0.0.1 5432 </dev/null >/dev/null 2>&1 && echo PONG && exit 0
echo "Could not connect"
exit 1
END

cat >"$root/entry/exits" <<'END'
#!/bin/sh
echo "exits 1: cannot open /etc/exits.conf" >&2
exit 1
END

# A job that is done at once and well.
cat >"$root/entry/job" <<'END'
#!/bin/sh
echo "job 1: done"
END

cat >"$root/entry/unhealthy" <<'END'
#!/bin/sh
trap 'exit 0' TERM INT
echo "unhealthy 1: starting"
echo "unhealthy 1: waiting for a disk that never comes" >&2
echo "unhealthy 1: still waiting" >&2
sleep 1000000 &
wait $!
END
cat >"$root/entry/never-healthy" <<'END'
#!/bin/sh
echo "the disk is not there"
exit 1
END

# Healthy two seconds after its start: long enough that waiting for it can be seen.
cat >"$root/entry/slow" <<'END'
#!/bin/sh
trap 'exit 0' TERM INT
echo "slow 1: warming up"
(sleep 2; touch /tmp/warm; echo "slow 1: warm") &
sleep 1000000 &
wait $!
END
cat >"$root/entry/is-warm" <<'END'
#!/bin/sh
[ -e /tmp/warm ] || { echo "not warm yet"; exit 1; }
END

chmod 755 "$root"/entry/* "$root"/www/*/cgi-bin/* "$root/bin/pg_isready" "$root/bin/redis-cli"
