//! First-hop security: every attack of the catalogue with its evasions, and every legitimate
//! exchange, on every kind of port. An attack is judged by what is delivered and by what changed in
//! anybody's tables; on an unguarded port each must work, otherwise it proves nothing.

mod attack;
mod attacks;
mod evasion;
mod field;
mod ground;
mod judge;
mod lab;
mod legit;
mod scene;
mod shot;
mod state;
mod suite;

/// A test per ground and section.
macro_rules! grounds {
    ($($module:ident: $ground:ident, $setting:ident;)+) => {$(
        mod $module {
            use netns_fixtures::BridgeNetfilter;

            use crate::attacks::Chapter;
            use crate::ground::Ground;
            use crate::suite::run;

            #[test]
            fn routers() {
                run(Ground::$ground, Chapter::Routers, BridgeNetfilter::$setting);
            }

            #[test]
            fn neighbours() {
                run(Ground::$ground, Chapter::Neighbours, BridgeNetfilter::$setting);
            }

            #[test]
            fn resources() {
                run(Ground::$ground, Chapter::Resources, BridgeNetfilter::$setting);
            }

            #[test]
            fn source6() {
                run(Ground::$ground, Chapter::Source6, BridgeNetfilter::$setting);
            }

            #[test]
            fn source4() {
                run(Ground::$ground, Chapter::Source4, BridgeNetfilter::$setting);
            }

            #[test]
            fn errors() {
                run(Ground::$ground, Chapter::Errors, BridgeNetfilter::$setting);
            }

            #[test]
            fn overlay() {
                run(Ground::$ground, Chapter::Overlay, BridgeNetfilter::$setting);
            }
        }
    )+};
}

grounds! {
    unguarded_nf0: Unguarded, Off;
    unguarded_nf1: Unguarded, On;
}
