//! The Fréchet distance of two sets of features, each taken for a normal distribution.

/// `|mean a - mean b|² + tr(A + B - 2 (A B)^½)` of the covariances `A` and `B` of two sets of features: Heusel et al., "GANs
/// Trained by a Two Time-Scale Update Rule", 2017, equation 6. `None` of fewer than two features on either side.
///
/// There are far more numbers in a feature than there are features, so the last term is found from these: of the centred
/// features `X` and `Y`, one in a row, it is the sum of the singular values of `X Yᵀ`. Few features make the distance larger
/// than it is: only distances of equally many can be compared.
pub(super) fn frechet(a: &[&[u8]], b: &[&[u8]]) -> Option<f64> {
    if a.len() < 2 || b.len() < 2 {
        return None;
    }
    let ((mean_a, a), (mean_b, b)) = (centred(a), centred(b));
    let means: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b).powi(2)).sum();
    let trace = |rows: &[Vec<f64>]| rows.iter().map(|row| dot(row, row)).sum::<f64>();
    let products: Vec<Vec<f64>> = a.iter().map(|a| b.iter().map(|b| dot(a, b)).collect()).collect();
    let squares = products.iter().map(|row| products.iter().map(|other| dot(row, other)).collect()).collect();
    let singular: f64 = eigenvalues(squares).into_iter().map(|square| square.max(0.0).sqrt()).sum();
    Some((means + trace(&a) + trace(&b) - 2.0 * singular).max(0.0))
}

/// The mean, and the rows without it over the root of one less than their number.
fn centred(rows: &[&[u8]]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut mean = vec![0.0; rows[0].len()];
    for row in rows {
        mean.iter_mut().zip(*row).for_each(|(mean, &value)| *mean += f64::from(value) / rows.len() as f64);
    }
    let scale = 1.0 / ((rows.len() - 1) as f64).sqrt();
    let centre = |row: &&[u8]| row.iter().zip(&mean).map(|(&value, mean)| (f64::from(value) - mean) * scale).collect();
    let rows = rows.iter().map(centre).collect();
    (mean, rows)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The eigenvalues of a symmetric matrix, by Jacobi's rotations (Golub and Van Loan, "Matrix Computations", section 8.5).
fn eigenvalues(mut m: Vec<Vec<f64>>) -> Vec<f64> {
    let n = m.len();
    let size: f64 = m.iter().map(|row| dot(row, row)).sum();
    for _ in 0..64 {
        let rest: f64 = (0..n).map(|i| (0..n).filter(|&j| j != i).map(|j| m[i][j].powi(2)).sum::<f64>()).sum();
        if rest <= 1e-24 * size {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if m[p][q] == 0.0 {
                    continue;
                }
                let theta = (m[q][q] - m[p][p]) / (2.0 * m[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut m {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let turned = |[a, b]: [f64; 2]| m[p].iter().zip(&m[q]).map(|(p, q)| a * p + b * q).collect::<Vec<_>>();
                (m[p], m[q]) = (turned([c, -s]), turned([s, c]));
            }
        }
    }
    (0..n).map(|i| m[i][i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(a: &[&[u8]], b: &[&[u8]]) -> f64 {
        frechet(a, b).unwrap()
    }

    #[test]
    fn of_one_number_it_is_that_of_means_and_deviations() {
        // Means 2 and 12; deviations √2 and √50: (10)² + (√50 - √2)².
        let wanted = 100.0 + (50f64.sqrt() - 2f64.sqrt()).powi(2);
        assert!((of(&[&[1], &[3]], &[&[7], &[17]]) - wanted).abs() < 1e-9);
        assert!(of(&[&[1], &[3], &[9]], &[&[1], &[3], &[9]]) < 1e-9, "of a set and itself");
        assert_eq!(frechet(&[&[1]], &[&[1], &[2]]), None);
    }

    #[test]
    fn numbers_that_do_not_hang_together_add_up() {
        // All four corners: the two numbers are independent, so the distance is the sum of both.
        let a: [&[u8]; 4] = [&[0, 0], &[0, 6], &[4, 0], &[4, 6]];
        let b: [&[u8]; 4] = [&[10, 1], &[10, 3], &[18, 1], &[18, 3]];
        let deviation = |half: f64| (half * half * 4.0 / 3.0).sqrt();
        let wanted = (14.0f64 - 2.0).powi(2)
            + (deviation(4.0) - deviation(2.0)).powi(2)
            + (2.0f64 - 3.0).powi(2)
            + (deviation(1.0) - deviation(3.0)).powi(2);
        // A root of what should be zero is as large as the root of its rounding.
        assert!((of(&a, &b) - wanted).abs() < 1e-4, "{} {wanted}", of(&a, &b));
        // The same from the other side, and where numbers hang together: a turned set is as far from itself as it is wide.
        assert!((of(&a, &b) - of(&b, &a)).abs() < 1e-4);
        let (up, down): ([&[u8]; 2], [&[u8]; 2]) = ([&[0, 0], &[8, 8]], [&[0, 8], &[8, 0]]);
        assert!((of(&up, &down) - 128.0).abs() < 1e-4, "traces of 64 each, and nothing in common");
    }

    #[test]
    fn eigenvalues_of_a_known_matrix() {
        let mut found = eigenvalues(vec![vec![2.0, 1.0, 0.0], vec![1.0, 2.0, 0.0], vec![0.0, 0.0, 5.0]]);
        found.sort_by(f64::total_cmp);
        for (found, wanted) in found.iter().zip([1.0, 3.0, 5.0]) {
            assert!((found - wanted).abs() < 1e-12, "{found}");
        }
    }
}
