//! bench-dcap-qvl QUOTE COLLATERAL.json NOW SECONDS
//! Verifies the quote over and over for SECONDS of CPU time and prints microseconds of CPU per
//! verification.

fn cpu_seconds() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let quote = std::fs::read(&args[1]).expect("quote");
    let text = std::fs::read(&args[2]).expect("collateral");
    let collateral: dcap_qvl::QuoteCollateralV3 =
        serde_json::from_slice(&text).expect("collateral JSON");
    let now: u64 = args[3].parse().expect("time");
    let limit: f64 = args[4].parse().expect("seconds");

    let once = || {
        dcap_qvl::verify::ring::verify(std::hint::black_box(&quote), &collateral, now)
            .expect("the quote verifies")
    };
    assert_eq!(once().status, "UpToDate");
    let start = cpu_seconds();
    let mut count = 0u64;
    while cpu_seconds() - start < limit {
        for _ in 0..20 {
            std::hint::black_box(once());
        }
        count += 20;
    }
    println!("{:.3}", (cpu_seconds() - start) / count as f64 * 1e6);
}
