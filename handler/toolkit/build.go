package toolkit

import "runtime/debug"

// build is what the Go toolchain stamped into the binary.
type build struct{ version, revision, time string }

// buildOf prefers the version it is given: a binary built outside of a tagged
// module knows itself as "(devel)".
func buildOf(version string, info *debug.BuildInfo, ok bool) build {
	b := build{version: version}
	if ok {
		if b.version == "" && info.Main.Version != "(devel)" {
			b.version = info.Main.Version
		}
		modified := false
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.revision = s.Value
			case "vcs.time":
				b.time = s.Value
			case "vcs.modified":
				modified = s.Value == "true"
			}
		}
		if modified && b.revision != "" {
			b.revision += "+modified"
		}
	}
	if b.version == "" {
		b.version = "0.0.0-dev"
	}
	return b
}
