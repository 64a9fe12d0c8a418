use musiva_core::*;
use musiva_data::*;
fn main() {
    let j: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap()).unwrap();
    let config: musiva_tokenizers::magvit2::Magvit2Config = serde_json::from_value(j["tokenizer"].clone()).unwrap();
    let ck = std::env::args().nth(2).unwrap();
    let device = burn::tensor::Device::flex();
    let held = world::World::new(world::WorldConfig { seed: 999, ..Default::default() }).unwrap();
    let (w, _) = musiva_core::parameters::open_weights(std::path::Path::new(&ck)).unwrap();
    for p in ["ema.", "model."] {
        let w: Weights = w.iter().filter_map(|(k, v)| k.strip_prefix(p).map(|k| (k.to_string(), v.clone()))).collect();
        let mut t = TokenizerConfig::build(&config, &device, &Source::Seed(0)).unwrap();
        t.trainable().unwrap().parameters_mut().load(&w, "x").unwrap();
        for frames in [1, 5, 9, 17] {
            let mut per = vec![0.0; frames];
            for i in 0..8 {
                let c = held.get(i).unwrap().clip.slice(0..frames);
                let tk = t.encode(&Media::Clip(c.clone())).unwrap();
                let Media::Clip(m) = t.decode(&tk).unwrap() else { panic!() };
                for f in 0..frames {
                    per[f] += musiva_train::measure::psnr(&c.slice(f..f + 1), &m.slice(f..f + 1)).unwrap() / 8.0;
                }
                if frames == 17 && i < 3 {
                    let [_, h, wd] = m.shape();
                    let mut f = String::new();
                    use std::fmt::Write;
                    let _ = write!(f, "P3 {} {} 255\n", wd * 9, h * 2);
                    for (cl) in [&c, &m] {
                        for y in 0..h {
                            for k in 0..9 {
                                let fr = cl.frame(k * 2);
                                for x in 0..wd {
                                    let o = (y * wd + x) * 3;
                                    let _ = write!(f, "{} {} {} ", fr[o], fr[o + 1], fr[o + 2]);
                                }
                            }
                        }
                    }
                    std::fs::write(format!("/tmp/look{i}.ppm"), f).unwrap();
                }
            }
            println!("{p} {frames}: {}", per.iter().map(|p| format!("{p:.1}")).collect::<Vec<_>>().join(" "));
        }
    }
}
