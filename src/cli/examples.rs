//! The examples at the end of each command's `--help`. A test parses every line.

pub(super) const IMAGES: &str = "\
Examples:
  The images of the Thoras chart, and where each was found:
    thoras-mirror images --why
  The images of another chart, with your values:
    thoras-mirror images --chart ./mychart -f values.yaml -o table
  The images in manifests that another tool rendered:
    kustomize build . | thoras-mirror images --rendered -";

pub(super) const SYNC: &str = "\
Examples:
  See what would be copied, then mirror the Thoras chart:
    thoras-mirror sync --to registry.example.com/thoras --dry-run
    thoras-mirror sync --to registry.example.com/thoras --license license.key
  Mirror another chart and its package:
    thoras-mirror sync --chart grafana \\
      --repo https://grafana.github.io/helm-charts --with-chart \\
      --to registry.example.com/apps
  Mirror a list of images that need only one platform:
    thoras-mirror sync --images images.txt --platform linux/amd64 \\
      --to registry.example.com/apps
  Mirror to two registries at once, reading each blob once:
    thoras-mirror sync --to eu.example.com/thoras --to us.example.com/thoras
  Copy the digests in the lock to a second registry:
    thoras-mirror sync --locked --to prod.example.com/thoras";

pub(super) const VERIFY: &str = "\
Examples:
  Compare the mirror with the lock, then every byte of it:
    thoras-mirror verify
    thoras-mirror verify --level bytes
  Without a lock, compare the mirror with the vendor's registry:
    thoras-mirror verify --to registry.example.com/thoras";

pub(super) const INSPECT: &str = "\
Examples:
  Show the platforms of an image:
    thoras-mirror inspect quay.io/prometheus/node-exporter:v1.8.2
  Print a manifest byte for byte:
    thoras-mirror inspect --raw registry.example.com/thoras/services:4.53.0";

pub(super) const DOCTOR: &str = "\
Examples:
  Check everything that sync would need:
    thoras-mirror doctor --to registry.example.com/thoras --license license.key
  Allow a slow registry more time:
    thoras-mirror doctor --to registry.example.com/thoras --timeout 60";

pub(super) const SERVE: &str = "\
Examples:
  Serve a folder on this machine:
    thoras-mirror serve ./registry
  Serve a bundle to every machine on the network:
    thoras-mirror serve thoras.tar --listen 0.0.0.0:5000 \\
      --tls-cert tls.crt --tls-key tls.key
  Require a login; only one user may push:
    thoras-mirror serve ./registry --htpasswd users --push-user ci";

pub(super) const BUNDLE: &str = "\
Examples:
  Across an air gap:
    thoras-mirror bundle export -o thoras.tar
    thoras-mirror bundle import thoras.tar --to registry.internal/thoras";

pub(super) const EXPORT: &str = "\
Examples:
  Write the images and the chart to one file:
    thoras-mirror bundle export -o thoras.tar --with-chart
  Write volumes for a FAT32 disk:
    thoras-mirror bundle export -o thoras.tar --split fat32
  Leave out what the far side already has:
    thoras-mirror bundle export -o update.tar --base thoras-mirror.lock
  Sign it:
    thoras-mirror bundle export -o thoras.tar --sign-key cosign.key
  Stream to another machine:
    thoras-mirror bundle export -o - | ssh host 'cat > thoras.tar'";

pub(super) const IMPORT: &str = "\
Examples:
  Import exactly this bundle, and refuse any other:
    thoras-mirror bundle import thoras.tar \\
      --to registry.internal/thoras --expect \\
      sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  Import only what this key has signed, and sign a receipt for the next export:
    thoras-mirror bundle import thoras.tar --to registry.internal/thoras \\
      --bundle-key cosign.pub --receipt receipt.json --sign-key far.key
  Import volumes, in any order:
    thoras-mirror bundle import thoras.tar.001 thoras.tar.002 \\
      --to registry.internal/thoras
  Import an image from docker save that has no full name:
    thoras-mirror bundle import web.tar \\
      --as registry.example.com/team/web:v2 --to registry.internal/apps";

pub(super) const BUNDLE_VERIFY: &str = "\
Examples:
  Read every byte of a bundle:
    thoras-mirror bundle verify thoras.tar
  Check that it is the bundle that was sent:
    thoras-mirror bundle verify thoras.tar --expect \\
      sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) const BUNDLE_INSPECT: &str = "\
Examples:
  Show the images in a bundle:
    thoras-mirror bundle inspect thoras.tar
  Write JSON for a program:
    thoras-mirror bundle inspect thoras.tar -o json";

pub(super) const LOCK: &str = "\
Examples:
  Join the locks of all parts of a sync:
    thoras-mirror lock merge --from registry.example.com/thoras";

pub(super) const LOCK_MERGE: &str = "\
Examples:
  Two machines share the work, and a third one joins their locks:
    thoras-mirror sync --to registry.example.com/thoras --shard 0/2
    thoras-mirror sync --to registry.example.com/thoras --shard 1/2
    thoras-mirror lock merge --from registry.example.com/thoras";

pub(super) const LOGIN: &str = "\
Examples:
  Read the password from a file:
    thoras-mirror login registry.example.com --username ci \\
      --password-stdin < password.txt
  Ask for the password:
    thoras-mirror login registry.example.com --username me
  Docker Hub:
    thoras-mirror login docker.io --username me";

pub(super) const LOGOUT: &str = "\
Examples:
  Remove the login for a registry:
    thoras-mirror logout registry.example.com";

pub(super) const VALUES: &str = "\
Examples:
  The Thoras chart, with a pull secret that exists in the cluster:
    thoras-mirror values --to registry.example.com/thoras \\
      --pull-secret thoras-mirror-pull --write mirror.yaml
  Another chart, with your values, pinned to the digests in the lock:
    thoras-mirror values --to registry.example.com/apps \\
      --chart ./mychart -f values.yaml --pin
  The sizes that the vendor's guide asks for:
    thoras-mirror values --to registry.example.com/thoras --workloads 300 \\
      --storage fixed --storage-class gp3";

pub(super) const PULL_SECRET: &str = "\
Examples:
  With the login that sync would use:
    thoras-mirror pull-secret --to registry.example.com/thoras \\
      | kubectl apply -f -
  With a pull-only login:
    pass mirror/puller \\
      | thoras-mirror pull-secret --to registry.example.com \\
      --to-username puller --to-password-stdin --write secret.yaml
  For the vendor's registry:
    thoras-mirror pull-secret --vendor --license license.key \\
      | kubectl apply -f -";

pub(super) const RUNNING: &str = "\
Examples:
  Compare what the cluster runs with the lock:
    kubectl get pods -A -o json | thoras-mirror running -
  Also mirror what runs there:
    kubectl get pods -n thoras -o json > pods.json
    thoras-mirror sync --to registry.example.com/thoras --add-running pods.json

Exit code 5: an image is not from the mirror, or differs from the lock.";

pub(super) const REDIRECT: &str = "\
Examples:
  For containerd on every node:
    thoras-mirror redirect --to registry.example.com/thoras \\
      --format containerd --output-dir certs.d
  For OpenShift:
    thoras-mirror redirect --to registry.example.com/thoras --format idms \\
      | oc apply -f -

Which names each format can redirect:
  containerd            --naming full, or any naming that keeps the whole source
                        path: it cannot strip a prefix
  crio, idms, kyverno   any, unless two tags of one source repository are in
                        different repositories of the mirror";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{Cli, command};

    /// The examples of a command and of those below it.
    fn all(command: &clap::Command) -> Vec<String> {
        let own = command.get_after_long_help().map(ToString::to_string);
        let own = own.filter(|text| text.starts_with("Examples:"));
        own.into_iter().chain(command.get_subcommands().flat_map(all)).collect()
    }

    #[test]
    fn every_example_parses() {
        let all = all(&command());
        assert!(all.len() > 15, "{all:#?}");
        for examples in all {
            let mut count = 0;
            for line in examples.replace(" \\\n", "").lines().filter(|line| line.starts_with("    ")) {
                let commands = line.split(['|', '<']).filter_map(|command| {
                    Some(shlex::split(command).unwrap())
                        .filter(|words| words.first().is_some_and(|word| word == "thoras-mirror"))
                });
                for words in commands {
                    count += 1;
                    Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
                }
            }
            assert!(count > 0, "{examples}");
        }
    }
}
