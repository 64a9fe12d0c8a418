//! Lists the recipes and the small weights that they run on, so that the command carries them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::{env, error::Error, fmt::Write, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let root = env::var("CARGO_MANIFEST_DIR")?;
    let recipes = Path::new(&root).join("recipes");
    println!("cargo::rerun-if-changed={}", recipes.display());
    let mut files = Vec::new();
    for folder in ["", "weights"] {
        let folder = recipes.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_file() && extension.is_some_and(|e| ["toml", "json", "safetensors"].contains(&e)) {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut table =
        String::from("/// Every file: its name below `recipes/`, and its bytes.\nconst FILES: &[(&str, &[u8])] = &[\n");
    for path in &files {
        let name = path.strip_prefix(&recipes)?.to_string_lossy().replace('\\', "/");
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", path.display().to_string())?;
    }
    table.push_str("];\n");
    // Equal content, equal name of the folder that it is unpacked to; found here, since it is all of the bytes.
    let mut hasher = DefaultHasher::new();
    for path in &files {
        path.strip_prefix(&recipes)?.hash(&mut hasher);
        fs::read(path)?.hash(&mut hasher);
    }
    writeln!(table, "/// Of all of them, names and bytes.\nconst FILES_HASH: &str = \"{:016x}\";", hasher.finish())?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("recipes.rs"), table)?;
    Ok(())
}
