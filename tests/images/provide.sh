# What the fleet holds beside its engines: certificates, a registry, and the test images on every engine.
#
# Sourced by tests/fleet, whose variables and functions it uses (folder, prefix, registry, say, engine, wait_for, …).
# All of it is made here and now, of openssl, docker-registry and a static busybox: nothing is downloaded.
# shellcheck shell=bash disable=SC2154

# A certificate of a CA: certificate CA NAME EXTENSIONS
certificate() {
    local ca=$1 of=$2 extensions=$3 tls=$folder/tls
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$prefix ${of//\// }" \
        -keyout "$tls/$of-key.pem" -out "$tls/$of.csr" 2>/dev/null
    openssl x509 -req -days 30 -in "$tls/$of.csr" -CA "$tls/$ca.pem" -CAkey "$tls/$ca-key.pem" -CAcreateserial \
        -extfile <(printf '%s\n' "$extensions") -out "$tls/$of-cert.pem" 2>/dev/null
    rm "$tls/$of.csr"
}

# The folder is what DOCKER_CERT_PATH wants: ca.pem, cert.pem, key.pem. `stranger` holds the same from another CA.
make_certificates() {
    local tls=$folder/tls ca
    mkdir -p "$tls/stranger"
    for ca in ca stranger/ca; do
        openssl req -x509 -days 30 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$prefix ${ca//\// }" \
            -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$tls/$ca-key.pem" -out "$tls/$ca.pem" 2>/dev/null
    done
    certificate ca server "subjectAltName=IP:$(address_of host-2)
extendedKeyUsage=serverAuth"
    certificate ca client "extendedKeyUsage=clientAuth"
    certificate stranger/ca stranger/client "extendedKeyUsage=clientAuth"
    for ca in "$tls" "$tls/stranger"; do
        mv "$ca/client-cert.pem" "$ca/cert.pem"
        mv "$ca/client-key.pem" "$ca/key.pem"
    done
}

registry_answers() { in_switch bash -c "exec 3<>/dev/tcp/${registry/://}" 2>/dev/null; }

start_registry() {
    mkdir -p "$folder/registry"
    cat >"$folder/registry/config.yml" <<END
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $folder/registry/data}, delete: {enabled: true}}
http: {addr: $registry}
END
    setsid nsenter --net="/run/netns/$name-switch" docker-registry serve "$folder/registry/config.yml" \
        </dev/null >>"$folder/registry/registry.log" 2>&1 9>&- &
    wait_for $registry_limit "the registry" registry_answers
}

images=(web:1 web:2 db:1 exits:1 job:1 unhealthy:1 slow:1)
registry_images=(web:1 web:2 db:1)

import_image() {
    local host=$1 image=$2 root=$3 changes=("ENTRYPOINT [\"/entry/${2%:*}\"]" 'ENV PATH=/bin')
    case $image in
        web:*) changes+=("ENV WEB_VERSION=${image#*:}" 'EXPOSE 8080') ;;
        db:*) changes+=('EXPOSE 5432') ;;
        unhealthy:*) changes+=('HEALTHCHECK --interval=1s --timeout=30s --retries=2 CMD ["/entry/never-healthy"]') ;;
        slow:*) changes+=('HEALTHCHECK --interval=500ms --timeout=30s --retries=20 CMD ["/entry/is-warm"]') ;;
    esac
    local arguments=() change
    for change in "${changes[@]}"; do arguments+=(--change "$change"); done
    engine "$host" import "${arguments[@]}" "$root" "$prefix/$image" >/dev/null
}

# Made once, on host-1, and copied: so an image has one and the same id on every host.
make_images() {
    local image work=$folder/images
    mkdir -p "$work/root"
    sh "$here/images/root.sh" "$work/root" /bin/busybox
    tar -C "$work/root" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$work/root.tar" .
    for image in "${images[@]}"; do import_image host-1 "$image" "$work/root.tar"; done
    engine host-1 save -o "$work/images.tar" "${images[@]/#/$prefix/}"
}

load_images() { engine "$1" load -q -i "$folder/images/images.tar" >/dev/null; }

push_images() {
    local image digest
    : >"$folder/registry/digests"
    for image in "${registry_images[@]}"; do
        engine host-1 tag "$prefix/$image" "$registry/$image"
        digest=$(engine host-1 push "$registry/$image" | sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/\1/p')
        [ -n "$digest" ] || { say "pushing $image gave no digest"; return 1; }
        echo "$registry/$image $digest" >>"$folder/registry/digests"
        engine host-1 rmi "$registry/$image" >/dev/null
    done
}
