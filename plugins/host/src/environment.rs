//! What a call must leave as it was: how this thread rounds, and the locale of the process.

use std::ffi::CStr;

/// The floating-point mode and the locale before a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    rounding: u64,
    locale: Option<Vec<u8>>,
}

impl Environment {
    /// As it is now.
    pub fn now() -> Self {
        Self { rounding: rounding(), locale: locale() }
    }

    /// Undoes what has changed since; says what it was.
    pub fn restore(&self) -> Option<&'static str> {
        let now = Self::now();
        if now.rounding != self.rounding {
            set_rounding(self.rounding);
        }
        if now.locale != self.locale {
            set_locale(self.locale.as_deref());
        }
        match (now.rounding != self.rounding, now.locale != self.locale) {
            (true, _) => Some("it changed the floating-point mode"),
            (_, true) => Some("it changed the locale"),
            _ => None,
        }
    }
}

/// The control bits of the vector unit, without the flags that arithmetic raises.
#[cfg(target_arch = "x86_64")]
fn rounding() -> u64 {
    let mut mode = 0u32;
    // SAFETY: stores the control register to the variable and touches nothing else.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut mode, options(nostack, preserves_flags)) };
    u64::from(mode & !0x3f)
}

#[cfg(target_arch = "x86_64")]
fn set_rounding(mode: u64) {
    let mode = mode as u32;
    // SAFETY: the bits were read from this register before.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &mode, options(nostack, preserves_flags)) };
}

#[cfg(target_arch = "aarch64")]
fn rounding() -> u64 {
    let mode: u64;
    // SAFETY: reads the control register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
    mode
}

#[cfg(target_arch = "aarch64")]
fn set_rounding(mode: u64) {
    // SAFETY: the bits were read from this register before.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn rounding() -> u64 {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn set_rounding(_: u64) {}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod c {
    unsafe extern "C" {
        pub fn setlocale(category: i32, locale: *const std::ffi::c_char) -> *const std::ffi::c_char;
    }
    pub const LC_ALL: i32 = 6;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn locale() -> Option<Vec<u8>> {
    // SAFETY: with a null pointer glibc only answers; the text is copied at once.
    let name = unsafe { c::setlocale(c::LC_ALL, std::ptr::null()) };
    // SAFETY: not null, and terminated by the C library.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes_with_nul().to_vec())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn set_locale(name: Option<&[u8]>) {
    if let Some(name) = name.and_then(|name| CStr::from_bytes_with_nul(name).ok()) {
        // SAFETY: a terminated name that the C library gave itself.
        unsafe { c::setlocale(c::LC_ALL, name.as_ptr()) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn locale() -> Option<Vec<u8>> {
    None
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set_locale(_: Option<&[u8]>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_rounding_mode_is_seen_and_undone() {
        let before = Environment::now();
        assert_eq!(before.restore(), None);
        let flush_to_zero = if cfg!(target_arch = "x86_64") { 1 << 15 } else { 1 << 24 };
        set_rounding(rounding() | flush_to_zero);
        let denormal = std::hint::black_box(f32::MIN_POSITIVE) / 2.0;
        assert_eq!(denormal, 0.0);
        assert_eq!(before.restore(), Some("it changed the floating-point mode"));
        assert_eq!(before, Environment::now());
    }
}
