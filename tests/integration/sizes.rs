//! Sizes of outputs where the input is not the same all over.

use crate::place::Place;
use crate::random::Random;

#[test]
fn outputs_have_their_size_where_one_half_compresses_and_the_other_does_not() {
    let random = Random::new(1);
    let place = Place::new();
    for file in 0..40 {
        let line = |row: usize| match file < 20 {
            true => {
                format!("{{\"id\":{file},\"text\":\"{}\",\"n\":{}}}\n", "the same words again ".repeat(16), row % 9)
            }
            false => {
                let text: String = (0..20).map(|_| format!("{:016x}", random.next())).collect();
                format!("{{\"id\":{file},\"text\":\"{text}\",\"n\":{row}}}\n")
            }
        };
        place.input(&format!("2025-01-01-{file:02}.ndjson"), (0..1500).map(line).collect::<String>());
    }
    for vcores in ["1", "2", "4"] {
        let output = place.path(&format!("out-{vcores}"));
        let mut command = place.command("millwork");
        command.args(["run", "--json", "--target-file-mb", "1", "--vcores", vcores, "--input"]).arg(place.path("in"));
        command.arg("--output").arg(&output).env("SIZE_TOLERANCE_PERCENT", "100");
        let done = crate::place::Done::of(command.output().unwrap());
        let sizes: Vec<f64> = done.json()["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| output["bytes"].as_f64().unwrap() / f64::from(1 << 20))
            .collect();
        assert!(sizes.len() > 4, "{sizes:?}");
        let others = &sizes[..sizes.len() - 1];
        assert!(others.iter().all(|size| (0.75..=1.25).contains(size)), "{vcores} {sizes:?}");
    }
}
