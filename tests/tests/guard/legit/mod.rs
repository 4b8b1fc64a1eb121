//! Exchanges that must work on every ground, each on a lab of its own. The container that attacks
//! elsewhere is an honest host here.

mod flows;
mod messages;
mod tools;

/// A test per ground and exchange; each exchange is a function over a lab.
macro_rules! exchanges {
    ($($exchange:ident),+ $(,)?) => {
        crate::legit::exchanges!(@ground unguarded, Unguarded, Off, $($exchange),+);
    };
    (@ground $module:ident, $ground:ident, $setting:ident, $($exchange:ident),+) => {
        mod $module {
            use netns_fixtures::BridgeNetfilter;

            use crate::ground::Ground;
            use crate::lab::Lab;

            $(#[test] fn $exchange() {
                super::$exchange(&Lab::new(Ground::$ground, BridgeNetfilter::$setting));
            })+
        }
    };
}
pub(crate) use exchanges;
