//! `bulkhead-demo --bin-dir DIR`.

use std::path::PathBuf;

/// What a person chose.
pub(crate) struct CommandLine {
    /// Where `bulkhead`, `bulkhead-bridge` and `bulkhead-ipam` are.
    pub(crate) bin_dir: PathBuf,
}

/// The executables the demo runs.
const PROGRAMS: [&str; 3] = ["bulkhead", "bulkhead-bridge", "bulkhead-ipam"];

impl CommandLine {
    /// Reads the arguments; refuses a directory in which an executable is missing.
    pub(crate) fn parse(
        args: impl IntoIterator<Item = String>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let args: Vec<String> = args.into_iter().skip(1).collect();
        let bin_dir = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["--bin-dir", dir] => PathBuf::from(dir),
            _ => return Err("usage: bulkhead-demo --bin-dir DIR (`make demo` does it)".into()),
        };
        let bin_dir = std::path::absolute(bin_dir)?;
        for program in PROGRAMS {
            let path = bin_dir.join(program);
            if !path.exists() {
                return Err(format!("there is no {}: run `make build`", path.display()).into());
            }
        }
        Ok(Self { bin_dir })
    }
}
